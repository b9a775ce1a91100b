package gatewayclient

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
)

// Environment variables that Access leaves to the environment.
const (
	TokenVariable         = "GATEWAY_TOKEN"
	TokenFileVariable     = "GATEWAY_TOKEN_FILE"
	TLSCAVariable         = "GATEWAY_TLS_CA"
	TLSClientCertVariable = "GATEWAY_TLS_CLIENT_CERT"
	TLSClientKeyVariable  = "GATEWAY_TLS_CLIENT_KEY"
)

// SystemCA, as Access.TLSCA, is the authorities that this machine trusts.
const SystemCA = "system"

const (
	// lookInterval is the time between two looks at whether a token file has changed.
	lookInterval = time.Second
	// tokenFileBytesMax is far more than a token has.
	tokenFileBytesMax = 4096
)

// ErrAccess: what a client was given cannot be used, or must not; the text says what to change.
var ErrAccess = errors.New("access")

var tokenShape = regexp.MustCompile(`^[!-~]{1,512}$`)

// Access is how a client is let in, and whom it believes. What is empty comes from the environment; without anything
// nothing is shown, and the connection is plain.
type Access struct {
	// Token is the secret that was minted. It is never sent in plain text beyond this machine.
	Token string
	// TokenFile is a file with nothing but the secret, read again when it has changed.
	TokenFile string
	// TLSCA is a file with the certificates of who may vouch for the gateway (PEM), or SystemCA.
	TLSCA string
	// TLSClientCert and TLSClientKey are files with this client's own certificate and its key (PEM), read again for
	// every connection.
	TLSClientCert string
	TLSClientKey  string
}

// String tells what is there, and no secret.
func (a Access) String() string {
	return fmt.Sprintf("Access{token: %t, TLS: %t}", a.Token != "" || a.TokenFile != "", a.isEncrypted())
}

// GoString is String: a secret stands in no log.
func (a Access) GoString() string {
	return a.String()
}

// resolved is the access with what the environment adds.
func (a Access) resolved() (Access, error) {
	if a.Token == "" && a.TokenFile == "" {
		a.Token, a.TokenFile = os.Getenv(TokenVariable), os.Getenv(TokenFileVariable)
	}
	if a.Token != "" && a.TokenFile != "" {
		return a, refused("a token or a file with one (%s, %s), not both", TokenVariable, TokenFileVariable)
	}
	if a.TLSClientCert == "" && a.TLSClientKey == "" {
		a.TLSClientCert, a.TLSClientKey = os.Getenv(TLSClientCertVariable), os.Getenv(TLSClientKeyVariable)
	}
	if (a.TLSClientCert == "") != (a.TLSClientKey == "") {
		return a, refused("a client's certificate and its key go together (%s, %s): one of them is missing",
			TLSClientCertVariable, TLSClientKeyVariable)
	}
	a.TLSCA = cmp.Or(a.TLSCA, os.Getenv(TLSCAVariable))
	return a, nil
}

func (a Access) isEncrypted() bool {
	return a.TLSCA != "" || a.TLSClientCert != ""
}

// transport is TLS as it was asked for; nil: plain.
func (a Access) transport() (credentials.TransportCredentials, error) {
	if !a.isEncrypted() {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.TLSCA != "" && a.TLSCA != SystemCA {
		text, err := os.ReadFile(a.TLSCA)
		if err != nil {
			return nil, refused("the authority's file cannot be read: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, refused("%s holds no certificate of an authority: it has to be PEM", a.TLSCA)
		}
	}
	if a.TLSClientCert != "" {
		if _, err := tls.LoadX509KeyPair(a.TLSClientCert, a.TLSClientKey); err != nil {
			return nil, refused("the client's certificate and key cannot be used: %w", err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(a.TLSClientCert, a.TLSClientKey)
			return &pair, err
		}
	}
	return credentials.NewTLS(config), nil
}

func refused(format string, values ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrAccess}, values...)...)
}

// bearer knows the token that a call is to show now. It implements credentials.PerRPCCredentials, so that gRPC itself
// refuses to show it over a plain connection beyond this machine.
type bearer struct {
	file    string
	isLocal bool

	mutex  sync.Mutex
	token  string
	seen   os.FileInfo
	lookAt time.Time
}

// newBearer reads the token; nil when there is none to show.
func newBearer(access Access, isLocal bool) (*bearer, error) {
	b := &bearer{file: access.TokenFile, token: access.Token, isLocal: isLocal}
	switch {
	case b.file != "":
		return b, b.read()
	case b.token == "":
		return nil, nil
	case !tokenShape.MatchString(b.token):
		return nil, refused("the token is none: it has characters that none has, or too many")
	}
	return b, nil
}

// shownKey is where a call's context has the place for the token that it showed.
type shownKey struct{}

// GetRequestMetadata is called by gRPC for every call and stream.
func (b *bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token := b.current()
	if shown, ok := ctx.Value(shownKey{}).(*string); ok {
		*shown = token
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity: in plain text a token stays on this machine.
func (b *bearer) RequireTransportSecurity() bool {
	return !b.isLocal
}

func (b *bearer) current() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if now := time.Now(); b.file != "" && now.After(b.lookAt) {
		b.lookAt = now.Add(lookInterval)
		b.refresh()
	}
	return b.token
}

// wasReplaced, after an error: the token that was shown was not taken, and its file has another one by now. The call
// did nothing, so that it may be made again. A client without a token has none that could have been replaced.
func (b *bearer) wasReplaced(err error, shown string) bool {
	if b == nil || b.file == "" || Decode(err).Code != codes.Unauthenticated {
		return false
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.refresh()
	return b.token != shown
}

// refresh reads the file again if it is another one; while it is being replaced the old token stays.
func (b *bearer) refresh() {
	now, err := os.Stat(b.file)
	if err == nil && (!os.SameFile(now, b.seen) || now.ModTime() != b.seen.ModTime() || now.Size() != b.seen.Size()) {
		_ = b.read()
	}
}

func (b *bearer) read() error {
	seen, err := os.Stat(b.file)
	if err != nil {
		return refused("the token file cannot be read: %w", err)
	}
	text, err := os.ReadFile(b.file)
	if err != nil {
		return refused("the token file cannot be read: %w", err)
	}
	token := string(bytes.TrimSpace(text))
	if len(text) > tokenFileBytesMax || !tokenShape.MatchString(token) {
		return refused("what stands in %s is no token", b.file)
	}
	b.token, b.seen = token, seen
	return nil
}

// noting is a context that keeps the token that the call with it shows.
func noting(ctx context.Context) (context.Context, *string) {
	shown := new(string)
	return context.WithValue(ctx, shownKey{}, shown), shown
}

// isLocal: what is sent there stays on this machine: a Unix socket, a loopback address in figures, localhost.
func isLocal(target string) bool {
	if strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "unix-abstract:") {
		return true
	}
	target = strings.TrimPrefix(strings.TrimPrefix(target, "passthrough:///"), "dns:///")
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && address.IsLoopback())
}
