// Package gatewayclient opens connections to the trading gateway, reads its errors, and follows its order
// stream across connections. The contract itself is package tradinggatewayv1, generated from the protos.
//
// Calls are repeated after ambiguous errors with the same request, and so under the same client_order_id: see
// repeat. A key is never made up by this package; NewKey makes one to keep.
package gatewayclient

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	pb "trading-gateway/clients/go/tradinggatewayv1"
)

// DefaultTarget is where `trading-gateway serve` listens.
const DefaultTarget = "127.0.0.1:50051"

// TargetVariable names the environment variable that overrides DefaultTarget.
const TargetVariable = "GATEWAY_TARGET"

const (
	// Transports buffer ahead of a reader that stands still. With the smallest fixed window the gateway notices
	// at once, and keeps only the newest value for it. (Go takes nothing below 64 KiB.)
	windowBytes = 64 * 1024
	// A connection whose other end vanished without a word is found out within half a minute.
	keepaliveInterval = 20 * time.Second
	keepaliveTimeout  = 10 * time.Second
)

// Client is a connection to the gateway with the services on it. It may be used by many goroutines.
type Client struct {
	Trading    pb.TradingServiceClient
	MarketData pb.MarketDataServiceClient
	Account    pb.AccountServiceClient
	Reference  pb.ReferenceDataServiceClient
	Risk       pb.RiskServiceClient
	// Operations is for whoever runs the gateway: tokens.
	Operations pb.OperationsServiceClient
	// Simulation is not there when the venue is paper or live.
	Simulation pb.SimulationServiceClient

	connection *grpc.ClientConn
	bearer     *bearer
}

// Dial prepares a connection; it is opened at the first call. An empty target is GATEWAY_TARGET, else DefaultTarget.
// Token and TLS come from the environment: see Access. Options are applied last: grpc.WithTransportCredentials
// replaces the TLS, or the plain connection, that the environment asks for.
func Dial(target string, options ...grpc.DialOption) (*Client, error) {
	return DialWith(Access{}, target, options...)
}

// DialWith is Dial with token and TLS given; what they leave empty comes from the environment. It is ErrAccess when they
// cannot be used, or when a token would go over the network for all to read.
func DialWith(access Access, target string, options ...grpc.DialOption) (*Client, error) {
	target = cmp.Or(target, os.Getenv(TargetVariable), DefaultTarget)
	access, err := access.resolved()
	if err != nil {
		return nil, err
	}
	transport, err := access.transport()
	if err != nil {
		return nil, err
	}
	token, err := newBearer(access, isLocal(target))
	if err != nil {
		return nil, err
	}
	connection, err := grpc.NewClient(target, append(dialOptions(transport, token), options...)...)
	if err != nil {
		if token != nil && transport == nil && !token.isLocal {
			return nil, refused("a token is not sent in plain text beyond this machine, and %s is beyond it: say whose "+
				"certificates to trust (Access.TLSCA or %s: a file, or the word %s)", target, TLSCAVariable, SystemCA)
		}
		return nil, err
	}
	return &Client{
		Trading:    pb.NewTradingServiceClient(connection),
		MarketData: pb.NewMarketDataServiceClient(connection),
		Account:    pb.NewAccountServiceClient(connection),
		Reference:  pb.NewReferenceDataServiceClient(connection),
		Risk:       pb.NewRiskServiceClient(connection),
		Operations: pb.NewOperationsServiceClient(connection),
		Simulation: pb.NewSimulationServiceClient(connection),
		connection: connection,
		bearer:     token,
	}, nil
}

// Close ends the connection; streams end with it.
func (c *Client) Close() error {
	return c.connection.Close()
}

func dialOptions(transport credentials.TransportCredentials, token *bearer) []grpc.DialOption {
	if transport == nil {
		transport = insecure.NewCredentials()
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithStaticStreamWindowSize(windowBytes),
		grpc.WithChainUnaryInterceptor(repeat(token)),
		grpc.WithDisableServiceConfig(), // nobody but repeat decides what is tried again
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveInterval, Timeout: keepaliveTimeout}),
		// Orders do not travel through a proxy that an environment variable happens to name.
		grpc.WithNoProxy(),
	}
	if token != nil {
		options = append(options, grpc.WithPerRPCCredentials(token))
	}
	return options
}

// NewKey makes a client_order_id that nobody has used. Make one for each intent, keep it where a crash cannot
// reach it, then submit; after an ambiguous error submit again with the same one.
func NewKey(prefix string) string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails: it ends the program instead
	return prefix + "-" + hex.EncodeToString(random[:])
}
