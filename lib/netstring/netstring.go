// Package netstring reads and writes netstrings: LENGTH ":" BYTES ",", with the
// length in decimal without leading zeros.
package netstring

import (
	"bufio"
	"errors"
	"io"
	"strconv"
)

// The ways in which a netstring can be wrong.
var (
	ErrForm = errors.New("malformed netstring")
	ErrSize = errors.New("netstring is longer than allowed")
)

// Append appends a netstring to b.
func Append(b []byte, text string) []byte {
	b = strconv.AppendInt(b, int64(len(text)), 10)
	b = append(b, ':')
	b = append(b, text...)
	return append(b, ',')
}

// Read reads one netstring of at most limit bytes of content. An end of input
// before the first byte is io.EOF, later io.ErrUnexpectedEOF.
func Read(r *bufio.Reader, limit int) (string, error) {
	length, digits := 0, 0
	for {
		c, err := r.ReadByte()
		switch {
		case err == io.EOF && digits > 0:
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		}
		if c == ':' && digits > 0 {
			break
		}
		if c < '0' || c > '9' || digits == 1 && length == 0 {
			return "", ErrForm
		}
		digits++
		if length = 10*length + int(c-'0'); length > limit {
			return "", ErrSize
		}
	}
	text := make([]byte, length+1)
	if _, err := io.ReadFull(r, text); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	if text[length] != ',' {
		return "", ErrForm
	}
	return string(text[:length]), nil
}
