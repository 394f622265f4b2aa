// Command lipsync reads a WAV file and writes a JPEG for each 40 ms of it.
//
//	lipsync -model iris -out frames speech.wav
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	lipsync "webrtc-avatar/clients/go"
	"webrtc-avatar/clients/go/pb"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "lipsync:", err)
		os.Exit(1)
	}
}

func run() error {
	address := flag.String("address", "127.0.0.1:50051", "host:port of the server")
	model := flag.String("model", "iris", "the avatar")
	folder := flag.String("out", "frames", "folder for the pictures")
	token := flag.String("token", os.Getenv("LIPSYNC_TOKEN"), "the server's token")
	encrypt := flag.Bool("tls", false, "encrypt, with the system's certificates")
	quality := flag.Int("quality", 0, "JPEG quality, 1 to 100; 0: the server's own")
	flag.Parse()
	if flag.NArg() != 1 {
		return fmt.Errorf("give one WAV file; got %d", flag.NArg())
	}
	file, err := os.Open(flag.Arg(0))
	if err != nil {
		return err
	}
	defer file.Close()
	samples, err := lipsync.ReadWAV(file)
	if err != nil {
		return fmt.Errorf("%s: %w", flag.Arg(0), err)
	}
	if err := os.MkdirAll(*folder, 0o777); err != nil {
		return err
	}
	options := lipsync.Options{Address: *address, Token: *token}
	if *encrypt {
		options.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	client, err := lipsync.Dial(options)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	started, count, failed := time.Now(), 0, 0
	err = client.Speak(ctx, *model, samples, &pb.OutputOptions{JpegQuality: int32(*quality)}, func(frame *pb.OptimizedInferenceResponse) error {
		if !frame.Success {
			failed++
			fmt.Fprintf(os.Stderr, "lipsync: frame %d: %s\n", frame.FrameId, frame.GetError())
			return nil
		}
		count++
		return os.WriteFile(filepath.Join(*folder, fmt.Sprintf("%06d.jpg", frame.FrameId)), frame.ImageData, 0o666)
	})
	if err != nil {
		return err
	}
	seconds := time.Since(started).Seconds()
	fmt.Printf("%d frames in %s, %.1f s, %.0f a second\n", count, *folder, seconds, float64(count)/seconds)
	if failed > 0 {
		return fmt.Errorf("%d frames could not be made", failed)
	}
	return nil
}
