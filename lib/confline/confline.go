// Package confline reads the text form that main.cf, master.cf and the sources
// of lookup tables share: logical lines made of physical ones, and words with
// { } around text that must stay together.
//
// A physical line whose first character that is not a blank is "#", and a line
// of blanks, is skipped, also between a line and its continuation. A line that
// begins with a blank continues the line before it. A line may end in CR LF.
// (protocols.md section 6.2)
package confline

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// MaxLine is the greatest length of a logical line in bytes.
const MaxLine = 1 << 20

// ErrTooLong is returned for a logical line longer than MaxLine.
var ErrTooLong = errors.New("line is too long")

// Line is one logical line. First and Last are the numbers of its first and
// last physical line. Orphan says that it began with a blank although there was
// no line before it to continue.
type Line struct {
	Text        string
	First, Last int
	Orphan      bool
}

// Scanner yields logical lines. With Collapse the blanks that begin a
// continuation line become one space, as in main.cf; else they are kept.
type Scanner struct {
	Collapse bool

	r    *bufio.Reader
	n    int
	next string
	have bool
	err  error
}

// NewScanner reads from r.
func NewScanner(r io.Reader) *Scanner {
	return &Scanner{r: bufio.NewReader(r)}
}

// Next returns the next logical line, without its line end; io.EOF after the last.
func (s *Scanner) Next() (Line, error) {
	for !s.have {
		if err := s.physical(); err != nil {
			return Line{}, err
		}
		s.have = !skipped(s.next)
	}
	line := Line{Text: s.next, First: s.n, Last: s.n, Orphan: isBlank(s.next[0])}
	s.have = false
	var joined strings.Builder
	for {
		err := s.physical()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Line{}, err
		}
		if skipped(s.next) {
			continue
		}
		if !isBlank(s.next[0]) {
			s.have = true
			break
		}
		if joined.Len() == 0 {
			joined.WriteString(line.Text)
		}
		more := s.next
		if s.Collapse {
			more = " " + strings.TrimLeft(more, " \t")
		}
		joined.WriteString(more)
		if joined.Len() > MaxLine {
			return Line{}, fmt.Errorf("line %d: %w", s.n, ErrTooLong)
		}
		line.Last = s.n
	}
	if joined.Len() > 0 {
		line.Text = joined.String()
	}
	return line, nil
}

// physical reads one physical line into s.next.
func (s *Scanner) physical() error {
	if s.err != nil {
		return s.err
	}
	var long []byte
	for {
		chunk, err := s.r.ReadSlice('\n')
		long = append(long, chunk...)
		if len(long) > MaxLine {
			s.err = fmt.Errorf("line %d: %w", s.n+1, ErrTooLong)
			return s.err
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			s.err = err
			if err != io.EOF || len(long) == 0 {
				return s.err
			}
		}
		break
	}
	s.n++
	text := strings.TrimSuffix(string(long), "\n")
	s.next = strings.TrimSuffix(text, "\r")
	return nil
}

func skipped(line string) bool {
	text := strings.TrimLeft(line, " \t\r\v\f")
	return text == "" || text[0] == '#'
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
