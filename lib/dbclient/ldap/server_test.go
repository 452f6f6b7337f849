package ldap

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"sealpost/lib/dbclient/dbtest"
)

// The tags of LDAP (RFC 4511) that the server below needs.
const (
	tagInteger, tagOctets, tagEnum, tagSequence, tagSet                      = 0x02, 0x04, 0x0a, 0x30, 0x31
	tagBind, tagBound, tagUnbind, tagSearch, tagEntry, tagDone               = 0x60, 0x61, 0x42, 0x63, 0x64, 0x65
	filterAnd, filterOr, filterNot, filterEqual, filterSubstr, filterPresent = 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0x87
)

// element is one element of BER.
type element struct {
	tag  byte
	body []byte
}

func readElement(r io.ByteReader) (e element, err error) {
	if e.tag, err = r.ReadByte(); err != nil {
		return e, err
	}
	c, err := r.ReadByte()
	if err != nil {
		return e, err
	}
	n := int(c)
	if c >= 0x80 {
		n = 0
		for range c & 0x7f {
			if c, err = r.ReadByte(); err != nil {
				return e, err
			}
			n = n<<8 | int(c)
		}
	}
	for range n {
		if c, err = r.ReadByte(); err != nil {
			return e, io.ErrUnexpectedEOF
		}
		e.body = append(e.body, c)
	}
	return e, nil
}

// parts are the elements inside of one.
func (e element) parts() []element {
	var list []element
	r := strings.NewReader(string(e.body))
	for r.Len() > 0 {
		inner, err := readElement(r)
		if err != nil {
			panic(err) // the client is the library
		}
		list = append(list, inner)
	}
	return list
}

func ber(tag byte, bodies ...string) string {
	body := strings.Join(bodies, "")
	n := len(body)
	return string([]byte{tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}) + body
}

// filterText is a filter as the server reads it, values in Go's quotes.
func filterText(e element) string {
	switch e.tag {
	case filterAnd, filterOr, filterNot:
		text := map[byte]string{filterAnd: "&", filterOr: "|", filterNot: "!"}[e.tag]
		for _, p := range e.parts() {
			text += filterText(p)
		}
		return "(" + text + ")"
	case filterEqual:
		p := e.parts()
		return fmt.Sprintf("(%s=%q)", p[0].body, p[1].body)
	case filterSubstr:
		return fmt.Sprintf("(%s=*SUBSTRINGS*)", e.parts()[0].body)
	case filterPresent:
		return fmt.Sprintf("(%s=*)", e.body)
	}
	return fmt.Sprintf("(tag %#x)", e.tag)
}

// entry is what a server has at a DN: names of attributes and values by turns.
type entry struct {
	dn         string
	attributes []string
}

// search is what a server is asked.
type search struct {
	base   string
	scope  byte
	filter string
}

// server is a directory as far as a client of tables sees it.
type server struct {
	*dbtest.Server
	bindCode byte
	// answer gives the entries for a search and a result code; a code below zero closes
	// the connection.
	answer func(q search) (entries []entry, code int)
}

func serve(t testing.TB, s *server) *server {
	t.Helper()
	s.Server = dbtest.Serve(t, func(_ *dbtest.Server, conn net.Conn) { s.talk(conn) })
	return s
}

func always(entries ...entry) func(search) ([]entry, int) {
	return func(search) ([]entry, int) { return entries, 0 }
}

func (s *server) talk(conn net.Conn) {
	r := bufio.NewReader(conn)
	for {
		m, err := readElement(r)
		if err != nil {
			return
		}
		p := m.parts()
		id, op := ber(tagInteger, string(p[0].body)), p[1]
		result := func(tag byte, code int) string {
			return ber(tagSequence, id, ber(tag, ber(tagEnum, string(rune(code))), ber(tagOctets), ber(tagOctets, "as told")))
		}
		switch op.tag {
		case tagBind:
			b := op.parts()
			s.Note(fmt.Sprintf("bind %s %s", b[1].body, b[2].body))
			_, err = conn.Write([]byte(result(tagBound, int(s.bindCode))))
		case tagSearch:
			f := op.parts()
			q := search{string(f[0].body), f[1].body[0], filterText(f[6])}
			s.Note("search " + q.base + " " + q.filter)
			entries, code := s.answer(q)
			if code < 0 {
				return
			}
			for _, e := range entries {
				var attributes []string
				for i := 0; i < len(e.attributes); i += 2 {
					attributes = append(attributes, ber(tagSequence, ber(tagOctets, e.attributes[i]), ber(tagSet, ber(tagOctets, e.attributes[i+1]))))
				}
				if _, err := conn.Write([]byte(ber(tagSequence, id, ber(tagEntry, ber(tagOctets, e.dn), ber(tagSequence, attributes...))))); err != nil {
					return
				}
			}
			_, err = conn.Write([]byte(result(tagDone, code)))
		default: // unbind
			return
		}
		if err != nil {
			return
		}
	}
}
