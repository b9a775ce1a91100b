package gatewayclient

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const errorDomain = "trading-gateway"

// What an error says about the client_order_id of the call.
const (
	// KeyFree: nothing is stored; the same key may be tried again.
	KeyFree = "free"
	// KeySpent: this answer for ever; the order never existed. Another try needs another key.
	KeySpent = "spent"
	// KeyTaken: another order holds the key, and it may be live.
	KeyTaken = "taken"
)

// Error is a failed call, decoded from google.rpc details. errors.proto is the manual.
type Error struct {
	Code    codes.Code
	Message string
	// Reason is a name of ErrorReason without its prefix; empty when a proxy or the transport failed.
	Reason   string
	Metadata map[string]string
	// Key is KeyFree, KeySpent or KeyTaken; empty when the error says nothing about the key: the order may exist,
	// also when this code is definite, for an earlier try of the call may have arrived.
	Key string
	// Violations are the bad fields, as "spec.limit_price: is required".
	Violations []string
	// RetryAfter is when trying again may help; 0 when the error does not say.
	RetryAfter time.Duration
	// OutcomeUnknown: the command may have had an effect: ask again with the same key. Never of a call that reads.
	OutcomeUnknown bool
	// MayArriveUntil: a try that was not answered may still arrive, and act, until then (its valid_until): before that
	// instant only the same key is safe, whatever Key says. Zero: no try is on its way.
	MayArriveUntil time.Time

	cause error
}

// Decode reads an error of a call or stream. It is nil for nil.
func Decode(err error) *Error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	state, _ := status.FromError(err)
	result := &Error{Code: state.Code(), Message: state.Message(), cause: err}
	for _, detail := range state.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == errorDomain { // a proxy's word about a key is none
				result.Reason, result.Metadata = detail.GetReason(), detail.GetMetadata()
				result.Key = result.Metadata["key"]
			}
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				result.Violations = append(result.Violations, violation.GetField()+": "+violation.GetDescription())
			}
		case *errdetails.RetryInfo:
			result.RetryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	if result.Reason == "" {
		result.Message = plain(result.Message)
	}
	result.OutcomeUnknown = result.Ambiguous() && result.Key == ""
	return result
}

// Error tells code, reason and message.
func (e *Error) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("%s: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("%s %s: %s", e.Code, e.Reason, e.Message)
}

// Unwrap is the error as gRPC gave it.
func (e *Error) Unwrap() error {
	return e.cause
}

// GRPCStatus is the status as gRPC gave it: package status reads this error like any other.
func (e *Error) GRPCStatus() *status.Status {
	state, _ := status.FromError(e.cause)
	return state
}

// Ambiguous tells that the code does not say whether the call had an effect: ask again with the same key.
func (e *Error) Ambiguous() bool {
	switch e.Code {
	case codes.DeadlineExceeded, codes.Canceled, codes.Unavailable, codes.Internal, codes.Unknown, codes.DataLoss:
		return true
	default:
		return false
	}
}
