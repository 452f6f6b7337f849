package smtpio

import (
	"bytes"
	"io"
	"net"
	"time"
)

// pieces is a connection whose input arrives in the given pieces, and ends.
type pieces struct {
	in   [][]byte
	out  bytes.Buffer
	read int
}

func newPieces(in ...string) *pieces {
	p := &pieces{}
	for _, s := range in {
		if s != "" {
			p.in = append(p.in, []byte(s))
		}
	}
	return p
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.in[0])
	p.read += n
	if p.in[0] = p.in[0][n:]; len(p.in[0]) == 0 {
		p.in = p.in[1:]
	}
	return n, nil
}

func (p *pieces) Write(b []byte) (int, error)      { return p.out.Write(b) }
func (p *pieces) Close() error                     { return nil }
func (p *pieces) LocalAddr() net.Addr              { return nil }
func (p *pieces) RemoteAddr() net.Addr             { return nil }
func (p *pieces) SetDeadline(time.Time) error      { return nil }
func (p *pieces) SetReadDeadline(time.Time) error  { return nil }
func (p *pieces) SetWriteDeadline(time.Time) error { return nil }
