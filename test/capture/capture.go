// Package capture reads the byte streams that were recorded from a running
// Postfix 3.12: conversations on service sockets, and files of its queue. They
// are the yardstick of the protocol and queue packages' tests.
//
// A conversation is a text file. Between "# connection N" and "# end of
// connection N" each line is "C>S " or "S>C " and a piece of what went that way;
// the pieces of one direction make up its exact stream. In a piece \0 is NUL
// (never an octal number), \n is LF, \\ a backslash and \xHH any byte.
//
// A queue file is its annotated records, as comments for people, and the base64
// of the whole file.
package capture

import (
	"bytes"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"
)

//go:embed testdata
var testdata embed.FS

// ErrSyntax: a recording that does not have the form above.
var ErrSyntax = errors.New("malformed recording")

// Piece is one complete attribute, end byte or record.
type Piece struct {
	Client bool // sent by the client
	Data   []byte
	// Descriptor: a file descriptor travelled with the piece (SCM_RIGHTS).
	Descriptor bool
}

// Conn is one recorded connection.
type Conn struct {
	File   string // name without ".txt"
	Number int
	Title  string // what the recording says about it
	Client []byte // everything that the client sent
	Server []byte // everything that the server sent
	Pieces []Piece
}

// Name identifies the connection in a test's output.
func (c Conn) Name() string { return fmt.Sprintf("%s/%d", c.File, c.Number) }

// File is one recorded file of the queue.
type File struct {
	Name  string // of the recording, without "queuefile-" and ".txt"
	Path  string // relative to the queue directory: "hold/5F6F39C06A1"
	Queue string // first element of Path: "hold"
	ID    string // last element of Path
	Mode  uint32 // permission bits
	MTime time.Time
	Data  []byte
}

// Names lists the recordings whose name matches a pattern of path.Match, like
// "bounce-from-*", without ".txt". No match fails the test.
func Names(tb testing.TB, pattern string) []string {
	tb.Helper()
	entries, err := testdata.ReadDir("testdata")
	if err != nil {
		tb.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".txt")
		if ok, err := path.Match(pattern, name); err != nil {
			tb.Fatal(err)
		} else if ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		tb.Fatalf("no recording matches %q", pattern)
	}
	return names
}

// Conns returns the connections in the recordings whose names match any of the
// patterns.
func Conns(tb testing.TB, patterns ...string) []Conn {
	tb.Helper()
	var all []Conn
	for _, pattern := range patterns {
		for _, name := range Names(tb, pattern) {
			conns, err := parseConns(name, read(tb, name))
			if err != nil {
				tb.Fatalf("%s: %v", name, err)
			}
			all = append(all, conns...)
		}
	}
	return all
}

// QueueFiles returns the queue files whose names, without "queuefile-", match
// the pattern; "*" are all of them, logs included.
func QueueFiles(tb testing.TB, pattern string) []File {
	tb.Helper()
	var files []File
	for _, name := range Names(tb, "queuefile-"+pattern) {
		f, err := parseFile(strings.TrimPrefix(name, "queuefile-"), read(tb, name))
		if err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
		files = append(files, f)
	}
	return files
}

// QueueFile returns the queue file of exactly that name: "plain".
func QueueFile(tb testing.TB, name string) File {
	tb.Helper()
	return QueueFiles(tb, name)[0]
}

// Messages returns the recorded queue files that hold a message: neither logs
// nor lock files, nor what waits in maildrop in another form.
func Messages(tb testing.TB) []File {
	tb.Helper()
	var msgs []File
	for _, f := range QueueFiles(tb, "*") {
		if bytes.HasPrefix(f.Data, []byte("C_")) {
			msgs = append(msgs, f)
		}
	}
	return msgs
}

func read(tb testing.TB, name string) string {
	tb.Helper()
	b, err := testdata.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func parseConns(name, text string) ([]Conn, error) {
	var conns []Conn
	var cur *Conn
	for i, line := range strings.Split(text, "\n") {
		var err error
		switch {
		case strings.HasPrefix(line, "# connection "):
			cur, err = begin(name, line)
		case cur == nil:
		case strings.HasPrefix(line, "C>S "), strings.HasPrefix(line, "S>C "):
			err = cur.add(line)
		case strings.HasPrefix(line, "# (descriptor") && len(cur.Pieces) > 0:
			cur.Pieces[len(cur.Pieces)-1].Descriptor = true
		case strings.HasPrefix(line, "# end of connection "):
			err = cur.check(line)
			conns = append(conns, *cur)
			cur = nil
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	if cur != nil {
		return nil, fmt.Errorf("%w: connection %d has no end", ErrSyntax, cur.Number)
	}
	if conns == nil {
		return nil, fmt.Errorf("%w: no connections", ErrSyntax)
	}
	return conns, nil
}

func begin(name, line string) (*Conn, error) {
	number, title, _ := strings.Cut(strings.TrimPrefix(line, "# connection "), ":")
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil, fmt.Errorf("%w: %q", ErrSyntax, line)
	}
	return &Conn{File: name, Number: n, Title: strings.TrimSpace(title)}, nil
}

func (c *Conn) add(line string) error {
	data, err := unescape(line[4:])
	if err != nil {
		return err
	}
	p := Piece{Client: line[0] == 'C', Data: data}
	c.Pieces = append(c.Pieces, p)
	if p.Client {
		c.Client = append(c.Client, data...)
	} else {
		c.Server = append(c.Server, data...)
	}
	return nil
}

// check compares the lengths with those that the recording states.
func (c *Conn) check(line string) error {
	var n, client, server int
	if _, err := fmt.Sscanf(line, "# end of connection %d (%d bytes C>S, %d bytes S>C)", &n, &client, &server); err != nil {
		return fmt.Errorf("%w: %q", ErrSyntax, line)
	}
	if n != c.Number || client != len(c.Client) || server != len(c.Server) {
		return fmt.Errorf("%w: %q, but read %d and %d bytes", ErrSyntax, line, len(c.Client), len(c.Server))
	}
	return nil
}

func unescape(s string) ([]byte, error) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		i++
		switch {
		case i < len(s) && s[i] == '0':
			b = append(b, 0)
		case i < len(s) && s[i] == 'n':
			b = append(b, '\n')
		case i < len(s) && s[i] == '\\':
			b = append(b, '\\')
		case i+2 < len(s) && s[i] == 'x':
			v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return nil, fmt.Errorf("%w: escape in %q", ErrSyntax, s)
			}
			b = append(b, byte(v))
			i += 2
		default:
			return nil, fmt.Errorf("%w: escape in %q", ErrSyntax, s)
		}
	}
	return b, nil
}

func parseFile(name, text string) (File, error) {
	f := File{Name: name}
	var size, mtime int64
	head, coded, ok := strings.Cut(text, "\n# base64 of the whole file\n")
	if !ok {
		return f, fmt.Errorf("%w: no base64", ErrSyntax)
	}
	for line := range strings.SplitSeq(head, "\n") {
		words := strings.Fields(line)
		if !strings.HasPrefix(line, "# on disk: ") || len(words) < 6 {
			continue
		}
		f.Path = words[3]
		f.Queue, f.ID = strings.SplitN(f.Path, "/", 2)[0], path.Base(f.Path)
		for i := 4; i+1 < len(words); i++ {
			var err error
			switch words[i] {
			case "mode":
				var m uint64
				m, err = strconv.ParseUint(words[i+1], 8, 32)
				f.Mode = uint32(m)
			case "size":
				size, err = strconv.ParseInt(words[i+1], 10, 64)
			case "mtime":
				mtime, err = strconv.ParseInt(words[i+1], 10, 64)
			}
			if err != nil {
				return f, fmt.Errorf("%w: %q", ErrSyntax, line)
			}
		}
	}
	f.MTime = time.Unix(mtime, 0)
	data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(coded, "\n", ""))
	if err != nil {
		return f, fmt.Errorf("%w: %v", ErrSyntax, err)
	}
	if f.Path == "" || int64(len(data)) != size {
		return f, fmt.Errorf("%w: %d bytes, recorded size %d", ErrSyntax, len(data), size)
	}
	f.Data = data
	return f, nil
}
