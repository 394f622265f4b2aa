package lipsync

import (
	"fmt"

	"google.golang.org/protobuf/proto"
)

// codec is gRPC's own for releases of it (Debian 12's among them) that still decode with protobuf's first API, which does not know messages of
// the second.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(message interface{}) ([]byte, error) {
	known, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no protobuf message", message)
	}
	return proto.Marshal(known)
}

func (codec) Unmarshal(data []byte, message interface{}) error {
	known, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no protobuf message", message)
	}
	return proto.Unmarshal(data, known)
}
