package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"sealpost/lib/record"
)

// spoolDir is where messages wait for a filter that is asked afterwards: the queue
// directory that this daemon may write to. Nobody else sees the files.
const spoolDir = "incoming"

// spool is the content of one message in a file without name, as records. It goes away
// with this process at the latest. Its size is bounded by message_size_limit.
type spool struct {
	f   *os.File
	w   *bufio.Writer
	buf []byte
	err error // the first one; nothing is written after it
}

func newSpool(dir string) (*spool, error) {
	f, err := nameless(dir)
	if err != nil {
		return nil, fmt.Errorf("file for a message in %s: %w", dir, err)
	}
	return &spool{f: f, w: bufio.NewWriterSize(f, 32<<10)}, nil
}

// nameless opens a new file that has no name, or has it no more.
func nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(proxy)"), nil
	}
	// Not all file systems can do that.
	f, err := os.CreateTemp(dir, "proxy-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

func (s *spool) record(t record.Type, payload []byte) {
	if s.err != nil {
		return
	}
	s.buf = record.Append(s.buf[:0], t, payload)
	_, s.err = s.w.Write(s.buf)
}

// replay gives the lines out again.
func (s *spool) replay(line func(text []byte, more bool)) error {
	if s.err == nil {
		s.err = s.w.Flush()
	}
	if s.err == nil {
		_, s.err = s.f.Seek(0, io.SeekStart)
	}
	if s.err != nil {
		return fmt.Errorf("file for a message: %w", s.err)
	}
	records := record.NewReader(bufio.NewReaderSize(s.f, 32<<10), 0)
	for {
		t, payload, err := records.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("file for a message: %w", err)
		}
		line(payload, t == record.Cont)
	}
}

func (s *spool) close() { _ = s.f.Close() } // all of it was read, or is not wanted
