package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/net/http2/hpack"
)

// What is needed of HTTP/2 to read one stream of a gRPC server for a few microseconds a message: a library that serves
// every use takes more of the machine than the server has left, and would then be what is measured.
const (
	frameHead      = 9
	frameMax       = 16384
	messageHead    = 5
	windowBytes    = 4 << 20
	defaultWindow  = 65535
	headBlockBytes = 4096

	frameData, frameHeaders, frameReset   = 0, 1, 3
	frameSettings, framePing, frameGoAway = 4, 6, 7
	frameWindow                           = 8
	flagAck, flagEndStream                = 1, 1
	flagEndHeaders, flagPadded            = 4, 8
	settingWindow                         = 4
	theStream                             = 1
)

// line is one connection with one stream on it. Its socket does not block; `read` is to be called when there is
// something to read.
type line struct {
	fd       int
	buffer   []byte
	held     int
	message  []byte
	consumed int
	headers  *hpack.Decoder
	status   string
	file     *os.File
}

// open connects and asks. What a stalled reader will not take is bounded by the default window.
func open(target, method, token string, request []byte, window int) (*line, error) {
	connection, err := net.Dial("tcp", target)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	file, err := connection.(*net.TCPConn).File()
	if err != nil {
		return nil, err
	}
	l := &line{fd: int(file.Fd()), file: file, buffer: make([]byte, 4*frameMax)}
	l.headers = hpack.NewDecoder(headBlockBytes, func(f hpack.HeaderField) {
		if f.Name == "grpc-status" {
			l.status = f.Value
		}
	})
	if _, err = file.Write(opening(target, method, token, request, window)); err != nil {
		return nil, err
	}
	return l, syscall.SetNonblock(l.fd, true)
}

func opening(target, method, token string, request []byte, window int) []byte {
	var head bytes.Buffer
	encoder := hpack.NewEncoder(&head)
	fields := [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", target},
		{"te", "trailers"}, {"content-type", "application/grpc"},
	}
	if token != "" {
		fields = append(fields, [2]string{"authorization", "Bearer " + token})
	}
	for _, field := range fields {
		_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	settings := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, settingWindow), uint32(window))
	body := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request)))
	sent := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	sent = appendFrame(sent, frameSettings, 0, 0, settings)
	if window > defaultWindow {
		sent = appendWindow(sent, 0, window-defaultWindow)
	}
	sent = appendFrame(sent, frameHeaders, flagEndHeaders, theStream, head.Bytes())
	return appendFrame(sent, frameData, flagEndStream, theStream, append(body, request...))
}

func appendFrame(to []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	to = append(to, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags)
	return append(binary.BigEndian.AppendUint32(to, stream), payload...)
}

func appendWindow(to []byte, stream uint32, more int) []byte {
	return appendFrame(to, frameWindow, 0, stream, binary.BigEndian.AppendUint32(nil, uint32(more)))
}

// read takes what the socket has, and hands out every message that is whole with it. An error ends the stream.
func (l *line) read(take func(message []byte)) error {
	count, err := syscall.Read(l.fd, l.buffer[l.held:])
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return nil
	case err != nil:
		return err
	case count == 0:
		return fmt.Errorf("closed by the server")
	}
	l.held += count
	at := 0
	for l.held-at >= frameHead {
		head := l.buffer[at : at+frameHead]
		length := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		if length > frameMax {
			return fmt.Errorf("a frame of %d bytes", length)
		}
		if l.held-at < frameHead+length {
			break
		}
		if err := l.frame(head[3], head[4], l.buffer[at+frameHead:at+frameHead+length], take); err != nil {
			return err
		}
		at += frameHead + length
	}
	copy(l.buffer, l.buffer[at:l.held])
	l.held -= at
	return nil
}

func (l *line) frame(kind, flags byte, payload []byte, take func(message []byte)) error {
	switch kind {
	case frameData:
		if flags&flagPadded != 0 {
			return fmt.Errorf("a padded frame")
		}
		l.messages(payload, take)
		return l.account(len(payload))
	case frameHeaders:
		if _, err := l.headers.Write(payload); err != nil {
			return err
		}
		if flags&flagEndStream != 0 {
			return fmt.Errorf("the stream ended with status %s", l.status)
		}
	case frameSettings:
		if flags&flagAck == 0 {
			return l.send(appendFrame(nil, frameSettings, flagAck, 0, nil))
		}
	case framePing:
		if flags&flagAck == 0 {
			return l.send(appendFrame(nil, framePing, flagAck, 0, payload))
		}
	case frameReset, frameGoAway:
		return fmt.Errorf("ended by the server with a frame of kind %d: %q", kind, payload)
	}
	return nil
}

// messages finds what is whole; what is not is kept until the rest comes.
func (l *line) messages(payload []byte, take func(message []byte)) {
	if len(l.message) > 0 {
		l.message = append(l.message, payload...)
		payload = l.message
	}
	for len(payload) >= messageHead {
		end := messageHead + int(binary.BigEndian.Uint32(payload[1:messageHead]))
		if len(payload) < end {
			break
		}
		take(payload[messageHead:end])
		payload = payload[end:]
	}
	l.message = append(l.message[:0], payload...)
}

func (l *line) account(bytes int) error {
	l.consumed += bytes
	if l.consumed < windowBytes/2 {
		return nil
	}
	sent := appendWindow(appendWindow(nil, 0, l.consumed), theStream, l.consumed)
	l.consumed = 0
	return l.send(sent)
}

func (l *line) send(frames []byte) error {
	count, err := syscall.Write(l.fd, frames)
	if err == nil && count != len(frames) {
		return fmt.Errorf("the server does not read")
	}
	return err
}
