package gatewayclient

import "strings"

// What comes before the reason in what gRPC says when no connection comes about. Words of a later version that differ are
// shown as they are.
const (
	dialing = "Error while dialing: "
	reading = "error reading server preface: "
)

// causes: what is found in the words of gRPC and crypto/tls, and what it comes down to; the first that is found counts.
var causes = []struct{ words, cause string }{
	{"certificate has expired", "the gateway's certificate has expired, or is not valid yet: it needs a new one, or a " +
		"clock is wrong"},
	{"certificate is valid for", "the gateway's certificate is another host's: connect to a name or address in it"},
	{"certificate is not valid for any names", "the gateway's certificate is another host's: it names no host"},
	{"doesn't contain any IP SANs", "the gateway's certificate is another host's: connect to a name that stands in it"},
	{"signed by unknown authority", "the gateway's certificate is signed by nobody whom this client trusts: give the " +
		"authority's certificate (Access.TLSCA, " + TLSCAVariable + ")"},
	{"first record does not look like a TLS handshake", "the gateway does not speak TLS, and this client was told to: " +
		"leave out TLSCA (" + TLSCAVariable + "), or start the gateway with --tls-cert and --tls-key"},
	{"certificate required", "the gateway asks for a client's certificate (" + TLSClientCertVariable + ")"},
	{"bad certificate", "the gateway does not take this client's certificate"},
	{"unknown certificate authority", "the gateway does not take this client's certificate: its authority is another"},
}

// plain is the transport's most common words, so that they say what to look at; any other message as it is.
func plain(message string) string {
	if _, reason, found := strings.Cut(message, dialing); found {
		return "no gateway answers (" + strings.TrimSuffix(reason, `"`) + "): is it running?"
	}
	for _, known := range causes {
		if strings.Contains(message, known.words) {
			return known.cause
		}
	}
	if strings.Contains(message, reading) {
		return "the gateway closed the connection at once: does it serve TLS (Access.TLSCA, " + TLSCAVariable +
			"), or ask for a client's certificate (" + TLSClientCertVariable + ")?"
	}
	return message
}
