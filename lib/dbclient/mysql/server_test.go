package mysql

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"sealpost/lib/dbclient/dbtest"
)

// The parts of the protocol that the server below needs.
const (
	capabilities = 1<<0 | 1<<3 | 1<<9 | 1<<13 | 1<<15 | 1<<19 // long password, database, 4.1, transactions, secure connection, plug-ins
	autocommit   = 2
	noBackslash  = 0x0200 // SQL mode NO_BACKSLASH_ESCAPES
	comQuit      = 1
	comQuery     = 3
	comPing      = 14
)

// server is a MySQL server as far as a client of tables sees it.
type server struct {
	*dbtest.Server
	status uint16 // besides autocommit
	// answer gives the rows for a statement, or the text of an error; nil, "" closes the
	// connection.
	answer func(statement string) (rows [][]any, fault string)
}

func serve(t testing.TB, s *server) *server {
	t.Helper()
	s.Server = dbtest.Serve(t, func(_ *dbtest.Server, conn net.Conn) { s.talk(conn) })
	return s
}

func always(rows ...[]any) func(string) ([][]any, string) {
	if rows == nil {
		rows = [][]any{}
	}
	return func(string) ([][]any, string) { return rows, "" }
}

// packets are a connection.
type packets struct {
	r   *bufio.Reader
	w   io.Writer
	seq byte
}

func (p *packets) read() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return nil, err
	}
	p.seq = head[3] + 1
	body := make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
	_, err := io.ReadFull(p.r, body)
	return body, err
}

func (p *packets) write(body []byte) error {
	n := len(body)
	_, err := p.w.Write(append([]byte{byte(n), byte(n >> 8), byte(n >> 16), p.seq}, body...))
	p.seq++
	return err
}

func text(b []byte, s string) []byte {
	if len(s) < 251 {
		return append(append(b, byte(len(s))), s...)
	}
	return append(append(b, 0xfc, byte(len(s)), byte(len(s)>>8)), s...)
}

func (s *server) talk(conn net.Conn) {
	p := &packets{r: bufio.NewReader(conn), w: conn}
	status := uint16(autocommit) | s.status
	hello := append([]byte{10}, "8.0-test\x00\x01\x00\x00\x00saltsalt\x00"...)
	hello = binary.LittleEndian.AppendUint16(hello, capabilities&0xffff)
	hello = append(hello, 45)
	hello = binary.LittleEndian.AppendUint16(hello, status)
	hello = binary.LittleEndian.AppendUint16(hello, capabilities>>16)
	hello = append(append(hello, 21), make([]byte, 10)...)
	hello = append(hello, "saltsaltsalt\x00mysql_native_password\x00"...)
	if p.write(hello) != nil {
		return
	}
	login, err := p.read()
	if err != nil {
		return
	}
	s.Note("login " + string(login))
	ok := []byte{0, 0, 0, byte(status), byte(status >> 8), 0, 0}
	eof := []byte{0xfe, 0, 0, byte(status), byte(status >> 8)}
	if p.write(ok) != nil {
		return
	}
	for {
		command, err := p.read()
		if err != nil || len(command) == 0 || command[0] == comQuit {
			return
		}
		if command[0] != comQuery {
			if command[0] != comPing || p.write(ok) != nil {
				return
			}
			continue
		}
		s.Note(string(command[1:]))
		rows, fault := s.answer(string(command[1:]))
		if rows == nil && fault == "" {
			return
		}
		if s.rows(p, rows, fault, eof) != nil {
			return
		}
	}
}

func (s *server) rows(p *packets, rows [][]any, fault string, eof []byte) error {
	if fault != "" {
		return p.write(append([]byte("\xff\x7a\x04#42S02"), fault...))
	}
	columns := 1
	if len(rows) > 0 {
		columns = len(rows[0])
	}
	out := [][]byte{{byte(columns)}}
	for i := range columns {
		c := text(nil, "def")
		for _, name := range []string{"", "t", "t", string(rune('a' + i)), string(rune('a' + i))} {
			c = text(c, name)
		}
		out = append(out, append(c, 0x0c, 45, 0, 0xff, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0))
	}
	out = append(out, eof)
	for _, row := range rows {
		var r []byte
		for _, v := range row {
			if v == nil {
				r = append(r, 0xfb)
			} else {
				r = text(r, v.(string))
			}
		}
		out = append(out, r)
	}
	for _, body := range append(out, eof) {
		if err := p.write(body); err != nil {
			return err
		}
	}
	return nil
}
