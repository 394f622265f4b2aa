package lipsync

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

const (
	// SampleRateHz is the rate of the sound that the service hears.
	SampleRateHz = 16000
	// ChunkSamples is the samples of one chunk: 40 ms, one frame.
	ChunkSamples = 640
	// ChunkBytes is a chunk on the wire: little-endian float32.
	ChunkBytes = 4 * ChunkSamples
	// ChunksBefore and ChunksAfter are what a frame hears around its own chunk.
	ChunksBefore = 8
	ChunksAfter  = 7
	// ExtraChunks is what a request needs beyond its frames.
	ExtraChunks = ChunksBefore + ChunksAfter
)

// Chunk cuts mono 16 kHz sound into chunks as the wire has them; the last one is filled up with silence.
func Chunk(samples []float32) [][]byte {
	count := (len(samples) + ChunkSamples - 1) / ChunkSamples
	chunks := make([][]byte, count)
	for number := range chunks {
		chunk := make([]byte, ChunkBytes)
		for place := 0; place < ChunkSamples && number*ChunkSamples+place < len(samples); place++ {
			binary.LittleEndian.PutUint32(chunk[4*place:], math.Float32bits(samples[number*ChunkSamples+place]))
		}
		chunks[number] = chunk
	}
	return chunks
}

// Pad returns the frameCount + 15 chunks that frameCount frames from start on need. Past either end of the sound its first or last chunk
// is repeated. No chunk is copied.
func Pad(chunks [][]byte, start, frameCount int) ([][]byte, error) {
	if len(chunks) == 0 {
		return nil, errors.New("the sound is empty: there is no chunk to repeat")
	}
	if frameCount < 1 {
		return nil, fmt.Errorf("a request is for at least 1 frame; got %d", frameCount)
	}
	padded := make([][]byte, frameCount+ExtraChunks)
	for place := range padded {
		number := start - ChunksBefore + place
		if number < 0 {
			number = 0
		}
		if number >= len(chunks) {
			number = len(chunks) - 1
		}
		padded[place] = chunks[number]
	}
	return padded, nil
}

// ReadWAV reads a WAV file with PCM of 16, 24 or 32 bits or with 32-bit floats, of any rate and number of channels, and returns it mono at
// 16 kHz.
func ReadWAV(file io.Reader) ([]float32, error) {
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	if len(data) < 12 || string(data[:4]) != "RIFF" || string(data[8:12]) != "WAVE" {
		return nil, errors.New("this is no WAV file; make one with: ffmpeg -i FILE speech.wav")
	}
	var kind, channels, bits uint16
	var rate uint32
	for place := 12; place+8 <= len(data); {
		name, size := string(data[place:place+4]), int(binary.LittleEndian.Uint32(data[place+4:]))
		body := data[place+8:]
		// Files that were streamed do not know how long they are.
		if size < 0 || size > len(body) {
			size = len(body)
		}
		body = body[:size]
		switch {
		case name == "fmt " && size >= 16:
			kind, channels = binary.LittleEndian.Uint16(body), binary.LittleEndian.Uint16(body[2:])
			rate, bits = binary.LittleEndian.Uint32(body[4:]), binary.LittleEndian.Uint16(body[14:])
			if kind == 0xFFFE && size >= 26 {
				kind = binary.LittleEndian.Uint16(body[24:])
			}
		case name == "data":
			mono, err := mix(body, kind, bits, int(channels))
			if err != nil {
				return nil, err
			}
			return Resample(mono, int(rate))
		}
		place += 8 + size + size%2
	}
	return nil, errors.New("this WAV file has no sound in it")
}

func mix(body []byte, kind, bits uint16, channels int) ([]float32, error) {
	size := int(bits) / 8
	integers := kind == 1 && (bits == 16 || bits == 24 || bits == 32)
	if channels < 1 || !(integers || kind == 3 && bits == 32) {
		return nil, fmt.Errorf("this WAV file has %d channels of kind %d with %d bits; expected PCM of 16, 24 or 32 bits or floats of 32", channels, kind, bits)
	}
	mono := make([]float32, len(body)/(size*channels))
	for place := range mono {
		var sum float64
		for channel := 0; channel < channels; channel++ {
			sum += value(body[(place*channels+channel)*size:], kind, bits)
		}
		mono[place] = float32(sum / float64(channels))
	}
	return mono, nil
}

func value(at []byte, kind, bits uint16) float64 {
	switch {
	case kind == 3:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(at)))
	case bits == 16:
		return float64(int16(binary.LittleEndian.Uint16(at))) / (1 << 15)
	case bits == 24:
		return float64(int32(uint32(at[0])<<8|uint32(at[1])<<16|uint32(at[2])<<24)) / (1 << 31)
	default:
		return float64(int32(binary.LittleEndian.Uint32(at))) / (1 << 31)
	}
}

// Resample returns mono sound at 16 kHz, through a windowed sinc.
func Resample(samples []float32, rateHz int) ([]float32, error) {
	if rateHz < 4000 || rateHz > 768000 {
		return nil, fmt.Errorf("a rate of %d Hz is not supported; expected 4000 to 768000", rateHz)
	}
	if rateHz == SampleRateHz {
		return samples, nil
	}
	step := float64(rateHz) / SampleRateHz
	cutoff := 0.95 * math.Min(1, 1/step)
	taps := math.Ceil(16 / cutoff)
	made := make([]float32, int(math.Round(float64(len(samples))/step)))
	for number := range made {
		at := float64(number) * step
		var sum float64
		for place := int(math.Ceil(at - taps)); place <= int(at+taps); place++ {
			if place < 0 || place >= len(samples) {
				continue
			}
			x := float64(place) - at
			sinc := 1.0
			if angle := math.Pi * x * cutoff; angle != 0 {
				sinc = math.Sin(angle) / angle
			}
			sum += float64(samples[place]) * cutoff * sinc * (0.5 + 0.5*math.Cos(math.Pi*x/(taps+1)))
		}
		made[number] = float32(sum)
	}
	return made, nil
}
