// Package lipsync is a client of the batched lip-sync service: sound in, pictures of an avatar that says it out.
package lipsync

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"webrtc-avatar/clients/go/pb"
)

const (
	framesACall  = 250
	callsAtATime = 3
	messageBytes = 50 << 20
	tries        = 6
)

// Options say how to reach a server. The zero value is one on this machine without a token.
type Options struct {
	// Address is host:port; 127.0.0.1:50051 if empty.
	Address string
	// Token is what the server's setting token says.
	Token string
	// TLS encrypts; nil: plain.
	TLS *tls.Config
}

// Client is one connection to a server, for any number of calls at a time.
type Client struct {
	connection *grpc.ClientConn
	stub       pb.OptimizedLipSyncServiceClient
	token      string
}

// Dial returns a client; the connection is made with the first call.
func Dial(options Options) (*Client, error) {
	if options.Address == "" {
		options.Address = "127.0.0.1:50051"
	}
	security := grpc.WithInsecure()
	if options.TLS != nil {
		security = grpc.WithTransportCredentials(credentials.NewTLS(options.TLS))
	}
	connection, err := grpc.Dial(options.Address, security,
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageBytes), grpc.MaxCallSendMsgSize(messageBytes), grpc.ForceCodec(codec{})))
	if err != nil {
		return nil, err
	}
	return &Client{connection, pb.NewOptimizedLipSyncServiceClient(connection), options.Token}, nil
}

// Close hangs up.
func (client *Client) Close() error {
	return client.connection.Close()
}

// Stub is the generated client, for the service's other methods; give it Context(ctx).
func (client *Client) Stub() pb.OptimizedLipSyncServiceClient {
	return client.stub
}

// Context returns a context that carries the token.
func (client *Client) Context(ctx context.Context) context.Context {
	if client.token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+client.token)
}

// Speak makes a frame for each 40 ms of mono 16 kHz sound and hands them to take, in order: 250 frames a call, three calls under way. A frame
// that could not be made has Success false and an Error. It ends with the first error, of a call or of take.
func (client *Client) Speak(ctx context.Context, model string, samples []float32, output *pb.OutputOptions, take func(*pb.OptimizedInferenceResponse) error) error {
	chunks := Chunk(samples)
	if len(chunks) == 0 {
		return errors.New("the sound is empty")
	}
	ctx, cancel := context.WithCancel(client.Context(ctx))
	defer cancel()
	type answer struct {
		response *pb.BatchInferenceResponse
		err      error
	}
	// Each call's answer comes through a channel of its own; the channel of channels holds the order, and calls back.
	calls := make(chan chan answer, callsAtATime-1)
	go func() {
		defer close(calls)
		for start := 0; start < len(chunks); start += framesACall {
			count := len(chunks) - start
			if count > framesACall {
				count = framesACall
			}
			coming := make(chan answer, 1)
			select {
			case calls <- coming:
			case <-ctx.Done():
				return
			}
			go func(start, count int) {
				response, err := client.batch(ctx, model, chunks, start, count, output)
				coming <- answer{response, err}
			}(start, count)
		}
	}()
	for coming := range calls {
		came := <-coming
		if came.err != nil {
			return came.err
		}
		for _, frame := range came.response.Responses {
			if err := take(frame); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// batch makes a call, again where nobody answered: it may be made any number of times.
func (client *Client) batch(ctx context.Context, model string, chunks [][]byte, start, count int, output *pb.OutputOptions) (*pb.BatchInferenceResponse, error) {
	padded, err := Pad(chunks, start, count)
	if err != nil {
		return nil, err
	}
	request := &pb.BatchInferenceWithAudioRequest{
		ModelName: model, StartFrameId: int32(start), FrameCount: int32(count), AudioChunks: padded, Output: output,
	}
	pause := 250 * time.Millisecond
	for try := 1; ; try++ {
		response, err := client.stub.GenerateBatchWithAudio(ctx, request)
		if err == nil {
			return response, nil
		}
		if status.Code(err) != codes.Unavailable || try == tries {
			return nil, fmt.Errorf("frames %d to %d: %w", start, start+count-1, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		pause *= 2
	}
}
