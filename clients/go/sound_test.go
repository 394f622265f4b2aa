package lipsync

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
)

func TestFrames100To103NeedTheChunks92To110(t *testing.T) {
	samples := make([]float32, 200*ChunkSamples)
	for place := range samples {
		samples[place] = float32(place / ChunkSamples)
	}
	padded, err := Pad(Chunk(samples), 100, 4)
	if err != nil || len(padded) != 19 {
		t.Fatalf("got %d chunks, %v", len(padded), err)
	}
	for place, chunk := range padded {
		if number := math.Float32frombits(binary.LittleEndian.Uint32(chunk)); number != float32(92+place) {
			t.Errorf("chunk %d is %v", place, number)
		}
	}
}

func TestPastEitherEndTheFirstOrLastChunkIsRepeated(t *testing.T) {
	chunks := Chunk([]float32{1, 2, 3})
	padded, err := Pad(chunks, 0, 1)
	if err != nil || len(padded) != 16 {
		t.Fatalf("got %d chunks, %v", len(padded), err)
	}
	for _, chunk := range padded {
		if !bytes.Equal(chunk, chunks[0]) || len(chunk) != ChunkBytes {
			t.Fatal("it is another chunk")
		}
	}
	if _, err := Pad(nil, 0, 1); err == nil {
		t.Error("an empty sound was padded")
	}
}

func TestAWAVFileBecomes16kHzMono(t *testing.T) {
	var file bytes.Buffer
	const rate, count = 44100, 44100
	file.WriteString("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00")
	for _, field := range []any{uint16(1), uint16(2), uint32(rate), uint32(4 * rate), uint16(4), uint16(16)} {
		binary.Write(&file, binary.LittleEndian, field)
	}
	file.WriteString("data")
	binary.Write(&file, binary.LittleEndian, uint32(4*count))
	for place := 0; place < count; place++ {
		tone := int16(16384 * math.Sin(2*math.Pi*440*float64(place)/rate))
		binary.Write(&file, binary.LittleEndian, [2]int16{tone, tone})
	}
	samples, err := ReadWAV(&file)
	if err != nil || len(samples) != SampleRateHz {
		t.Fatalf("got %d samples, %v", len(samples), err)
	}
	for place := 100; place < len(samples)-100; place++ {
		expected := 0.5 * math.Sin(2*math.Pi*440*float64(place)/SampleRateHz)
		if math.Abs(float64(samples[place])-expected) > 0.005 {
			t.Fatalf("sample %d is %v, expected %v", place, samples[place], expected)
		}
	}
	if _, err := ReadWAV(bytes.NewBufferString("Dear reader")); err == nil {
		t.Error("a letter was read as sound")
	}
}
