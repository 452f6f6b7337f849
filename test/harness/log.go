package harness

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

// lookEvery is how often something that cannot be waited for otherwise is
// looked at.
const lookEvery = 5 * time.Millisecond

// Poll calls fn until it says done or ctx ends.
func Poll(ctx context.Context, fn func() (done bool, err error)) error {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		if done, err := fn(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// Log is a mail log that is read while it grows.
type Log struct{ path string }

// Text is the log so far.
func (l *Log) Text() string {
	text, err := os.ReadFile(l.path)
	if err != nil {
		return ""
	}
	return string(text)
}

// Mark is a place in the log, for Wait: what comes after it.
func (l *Log) Mark() int { return len(l.Text()) }

// Wait waits for a complete line that matches the pattern and comes after the
// mark (0: anywhere), and returns the match and its groups.
func (l *Log) Wait(ctx context.Context, mark int, pattern string) ([]string, error) {
	re, err := regexp.Compile("(?m)" + pattern)
	if err != nil {
		return nil, err
	}
	var found []string
	err = Poll(ctx, func() (bool, error) {
		text := l.Text()
		if len(text) < mark {
			mark = 0 // rotated
		}
		text = text[mark:]
		text = text[:strings.LastIndexByte(text, '\n')+1]
		found = re.FindStringSubmatch(text)
		return found != nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for log line %q: %w", pattern, err)
	}
	return found, nil
}

// Count is the number of lines that match the pattern.
func (l *Log) Count(pattern string) int {
	return len(regexp.MustCompile("(?m)"+pattern).FindAllStringIndex(l.Text(), -1))
}

// NewLog follows a log file that may not exist yet.
func NewLog(path string) *Log { return &Log{path: path} }
