package queue

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sealpost/lib/record"
)

// message is a queue file with n bytes of content, in lines of 76.
func message(n int) []byte {
	var content []byte
	for len(content) < n {
		content = record.Append(content, record.Norm, strings.Repeat("x", 74))
	}
	env := record.Append(nil, record.Time, "1795378912 383811")
	env = record.Append(env, record.From, "sender@example.com")
	env = addRcpt(env, "recipient@example.com")
	env = record.Append(env, record.Message, "")
	b := AppendSize(nil, SizeRecord{ContentSize: int64(len(content)), DataOffset: int64(SizeLen + len(env)), Rcpts: 1})
	b = append(append(b, env...), content...)
	b = record.Append(b, record.Extracted, "")
	return record.Append(b, record.End, "")
}

// BenchmarkCommit stores messages of 5 KB from several goroutines. The directory
// is that of SEALPOST_BENCH_DIR, for a look at a certain file system.
func BenchmarkCommit(b *testing.B) {
	data := message(5 << 10)
	for _, writers := range []int{1, 20, 100} {
		b.Run(name(writers), func(b *testing.B) {
			dir := b.TempDir()
			if base := os.Getenv("SEALPOST_BENCH_DIR"); base != "" {
				var err error
				if dir, err = os.MkdirTemp(base, "queue"); err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { os.RemoveAll(dir) })
			}
			if err := os.Mkdir(filepath.Join(dir, Incoming), 0o700); err != nil {
				b.Fatal(err)
			}
			q := New(dir, Settings{})
			work := make(chan struct{}, b.N)
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for range work {
						f, err := q.Create(Incoming)
						if err != nil {
							b.Error(err)
							return
						}
						f.Write(data)
						if err := f.Commit(context.Background()); err != nil {
							b.Error(err)
						}
						q.Remove(Incoming, f.ID())
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

func name(writers int) string {
	return map[int]string{1: "1 writer", 20: "20 writers", 100: "100 writers"}[writers]
}

func BenchmarkContent(b *testing.B) {
	path := filepath.Join(b.TempDir(), "file")
	data := message(5 << 10)
	if err := os.WriteFile(path, data, 0o700); err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	m, err := ReadMessage(f, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(m.DataSize)
	b.ReportAllocs()
	for b.Loop() {
		c := NewContent(f, m.DataOffset)
		for {
			if _, _, err := c.Next(); err != nil {
				if err != io.EOF {
					b.Fatal(err)
				}
				break
			}
		}
		c.Release()
	}
}

func BenchmarkReadMessage(b *testing.B) {
	r := bytes.NewReader(message(5 << 10))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadMessage(r, 0); err != nil {
			b.Fatal(err)
		}
	}
}
