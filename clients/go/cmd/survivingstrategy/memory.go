package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"trading-gateway/clients/go/gatewayclient"
	pb "trading-gateway/clients/go/tradinggatewayv1"
)

// memory is what the strategy remembers: a JSON file that is replaced, so that a crash leaves the old one or the new one.
type memory struct {
	Key    string `json:"key"`
	Token  string `json:"token"`
	Filled string `json:"filled"`
	Done   bool   `json:"done"`

	path string
}

// remember reads the file, or begins it: the key is on the disk before anything is asked with it.
func remember(path string) (*memory, error) {
	result := &memory{path: path}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		result.Key, result.Filled = gatewayclient.NewKey("survivor"), "0"
		return result, result.save()
	}
	if err != nil {
		return nil, err
	}
	return result, json.Unmarshal(text, result)
}

// save replaces the file, and waits until the disk has it.
func (m *memory) save() error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	beside := m.path + ".new"
	file, err := os.Create(beside)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(beside, m.path)
}

// subscription goes on after the kept token; without one it begins with what happens from now on.
func (m *memory) subscription() *pb.StreamOrderUpdatesRequest {
	if m.Token == "" {
		return &pb.StreamOrderUpdatesRequest{Start: &pb.StreamOrderUpdatesRequest_LiveOnly{LiveOnly: true}}
	}
	return &pb.StreamOrderUpdatesRequest{Start: &pb.StreamOrderUpdatesRequest_ResumeToken{ResumeToken: m.Token}}
}
