package gatewayclient

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "trading-gateway/clients/go/tradinggatewayv1"
)

const secret = "gw_emu_01234567_" + "sssssssssssssssssssssssssssssssssssssssssss"

// guarded is a server that takes one token, which may change.
type guarded struct {
	pb.UnimplementedTradingServiceServer
	wanted  atomic.Value
	refused atomic.Int64
	opened  atomic.Int64
}

func (g *guarded) check(ctx context.Context) error {
	headers, _ := metadata.FromIncomingContext(ctx)
	if shown := headers.Get("authorization"); len(shown) != 1 || shown[0] != "Bearer "+g.wanted.Load().(string) {
		g.refused.Add(1)
		return status.Error(codes.Unauthenticated, "a valid token is required")
	}
	return nil
}

func (g *guarded) GetOrder(ctx context.Context, _ *pb.GetOrderRequest) (*pb.GetOrderResponse, error) {
	return &pb.GetOrderResponse{}, g.check(ctx)
}

// StreamOrderUpdates sends one event, and ends when the token changes.
func (g *guarded) StreamOrderUpdates(
	request *pb.StreamOrderUpdatesRequest, stream grpc.ServerStreamingServer[pb.StreamOrderUpdatesResponse],
) error {
	if err := g.check(stream.Context()); err != nil {
		return err
	}
	if err := stream.Send(event(uint64(g.opened.Add(1)), &pb.Order{})); err != nil {
		return err
	}
	for g.check(stream.Context()) == nil {
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-time.After(time.Millisecond):
		}
	}
	return status.Error(codes.Unauthenticated, "revoked")
}

func guard(t *testing.T, options ...grpc.ServerOption) (*guarded, string) {
	t.Helper()
	clearEnvironment(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service := &guarded{}
	service.wanted.Store(secret)
	server := grpc.NewServer(options...)
	pb.RegisterTradingServiceServer(server, service)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return service, listener.Addr().String()
}

func clearEnvironment(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		TargetVariable, TokenVariable, TokenFileVariable, TLSCAVariable, TLSClientCertVariable, TLSClientKeyVariable,
	} {
		t.Setenv(name, "")
	}
}

func dial(t *testing.T, access Access, target string) (*Client, context.Context) {
	t.Helper()
	client, err := DialWith(access, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return client, ctx
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestATokenInPlainTextStaysOnThisMachine(t *testing.T) {
	clearEnvironment(t)
	for target, stays := range map[string]bool{
		"127.0.0.1:50051": true, "localhost:1": true, "[::1]:1": true, "unix:/run/g.sock": true,
		"dns:///localhost:1": true, "10.0.0.1:1": false, "gateway:50051": false, "0.0.0.0:1": false,
		"dns://8.8.8.8/localhost:1": false, "localhost.example.com:1": false,
	} {
		client, err := DialWith(Access{Token: secret}, target)
		if stays {
			if err != nil {
				t.Errorf("%s: %v", target, err)
				continue
			}
			_ = client.Close()
			continue
		}
		if !errors.Is(err, ErrAccess) || !strings.Contains(err.Error(), "not sent in plain text") {
			t.Errorf("%s: %v", target, err)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error tells the secret", target)
		}
	}
}

func TestASecretStandsInNoLog(t *testing.T) {
	access := Access{Token: secret}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, access); strings.Contains(text, secret) {
			t.Errorf("%s: %s", verb, text)
		}
	}
}

func TestWhatCannotBeUsedIsRefused(t *testing.T) {
	clearEnvironment(t)
	nothing := write(t, "empty", "")
	for said, access := range map[string]Access{
		"not both":                 {Token: "a", TokenFile: "b"},
		"one of them is missing":   {TLSClientCert: "c.pem"},
		"the token is none":        {Token: secret + " " + secret},
		"cannot be read":           {TokenFile: "/nowhere/token"},
		"is no token":              {TokenFile: nothing},
		"no certificate of an aut": {TLSCA: nothing},
		"cannot be used":           {TLSClientCert: nothing, TLSClientKey: nothing},
	} {
		if _, err := DialWith(access, ""); !errors.Is(err, ErrAccess) || !strings.Contains(err.Error(), said) {
			t.Errorf("%s: %v", said, err)
		}
	}
}

func TestTheTokenComesFromTheEnvironmentToo(t *testing.T) {
	_, target := guard(t)
	t.Setenv(TokenVariable, secret)
	client, ctx := dial(t, Access{}, target)
	if _, err := client.Trading.GetOrder(ctx, &pb.GetOrderRequest{}); err != nil {
		t.Fatal(err)
	}
}

func TestARefusalIsDefinite(t *testing.T) {
	service, target := guard(t)
	client, ctx := dial(t, Access{Token: "another"}, target)
	_, err := client.Trading.GetOrder(ctx, &pb.GetOrderRequest{})
	if Decode(err).Code != codes.Unauthenticated || service.refused.Load() != 1 {
		t.Fatalf("%v after %d tries", err, service.refused.Load())
	}
	for _, err := range client.OrderUpdates(ctx, &pb.StreamOrderUpdatesRequest{}) {
		if Decode(err).Code != codes.Unauthenticated || service.refused.Load() != 2 {
			t.Fatalf("%v after %d tries", err, service.refused.Load())
		}
	}
}

func TestARotatedTokenIsTakenUpWithoutARestart(t *testing.T) {
	service, target := guard(t)
	file := write(t, "token", secret+"\n")
	client, ctx := dial(t, Access{TokenFile: file}, target)
	if _, err := client.Trading.GetOrder(ctx, &pb.GetOrderRequest{}); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for update, err := range client.OrderUpdates(ctx, &pb.StreamOrderUpdatesRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; update.GetSequence() == 2 {
			break
		}
		if err := os.WriteFile(file, []byte("the-next-one"), 0o600); err != nil {
			t.Fatal(err)
		}
		service.wanted.Store("the-next-one")
	}
	if seen != 2 {
		t.Fatalf("%d updates", seen)
	}
	if _, err := client.Trading.GetOrder(ctx, &pb.GetOrderRequest{}); err != nil {
		t.Fatal(err)
	}
	service.wanted.Store("nobody's")
	for _, err := range client.OrderUpdates(ctx, &pb.StreamOrderUpdatesRequest{}) {
		if Decode(err).Code != codes.Unauthenticated {
			t.Fatal(err)
		}
	}
}

// authority signs certificates for tests.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	file        string
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(signed)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})
	return authority{certificate, key, write(t, "ca.pem", string(text))}
}

// sign makes a certificate and its key, as files.
func (a authority) sign(t *testing.T, template x509.Certificate) (string, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	signed, err := x509.CreateCertificate(rand.Reader, &template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyBytes, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}))),
		write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyBytes})))
}

// speaksTLS is a server's option, with a certificate that the authority signed; asking for one of the client's.
func (a authority) speaksTLS(t *testing.T, template x509.Certificate, asks bool) grpc.ServerOption {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(a.sign(t, template))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if asks {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		config.ClientCAs.AddCert(a.certificate)
	}
	return grpc.Creds(credentials.NewTLS(config))
}

var here = x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}

func TestTLSAndAClientsOwnCertificate(t *testing.T) {
	own := newAuthority(t, "own")
	_, target := guard(t, own.speaksTLS(t, here, true))
	uri, err := url.Parse("spiffe://gateway/momentum")
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := own.sign(t, x509.Certificate{URIs: []*url.URL{uri}})
	shown := Access{Token: secret, TLSCA: own.file, TLSClientCert: certificate, TLSClientKey: key}
	client, ctx := dial(t, shown, target)
	if _, err := client.Trading.GetOrder(ctx, &pb.GetOrderRequest{}); err != nil {
		t.Fatal(err)
	}
}

func TestAConnectionThatDoesNotComeAboutSaysWhy(t *testing.T) {
	own, other := newAuthority(t, "own"), newAuthority(t, "other")
	elsewhere := x509.Certificate{DNSNames: []string{"elsewhere.example"}}
	expired := x509.Certificate{IPAddresses: here.IPAddresses, NotAfter: time.Now().Add(-time.Minute)}
	for said, test := range map[string]struct {
		server []grpc.ServerOption
		ca     string
	}{
		"nobody whom this client trusts": {[]grpc.ServerOption{own.speaksTLS(t, here, false)}, other.file},
		"another host's":                 {[]grpc.ServerOption{own.speaksTLS(t, elsewhere, false)}, own.file},
		"has expired":                    {[]grpc.ServerOption{own.speaksTLS(t, expired, false)}, own.file},
		"does it serve TLS":              {[]grpc.ServerOption{own.speaksTLS(t, here, false)}, ""},
		"certificate":                    {[]grpc.ServerOption{own.speaksTLS(t, here, true)}, own.file},
		"does not speak TLS":             {nil, own.file},
	} {
		_, target := guard(t, test.server...)
		client, err := DialWith(Access{TLSCA: test.ca}, target)
		if err != nil {
			t.Fatal(err)
		}
		// Whether a server's word reaches a client before the connection is gone is chance: it is asked a few times.
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			_, err = client.Trading.GetOrder(ctx, &pb.GetOrderRequest{})
			cancel()
			if strings.Contains(fmt.Sprint(err), said) {
				break
			}
		}
		if !strings.Contains(fmt.Sprint(err), said) {
			t.Errorf("%s: %v", said, err)
		}
		_ = client.Close()
	}
}
