package sasl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

const greeting = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tCRAM-MD5\tdictionary\tactive\nSPID\t7\nCUID\t1\nCOOKIE\tabc\nDONE\n"

// fake is Dovecot's end: what it says at first, and the answer to each line.
type fake struct {
	t      testing.TB
	path   string
	ln     net.Listener
	answer func(line string) string // "" says nothing; "close" closes

	mu    sync.Mutex
	lines []string
	wg    sync.WaitGroup
}

func newFake(t testing.TB, greeting string, answer func(string) string) *fake {
	f := &fake{t: t, path: filepath.Join(t.TempDir(), "auth"), answer: answer}
	f.listen(greeting)
	return f
}

func (f *fake) listen(greeting string) {
	ln, err := net.Listen("unix", f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	f.ln = ln
	f.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { f.talk(c, greeting) })
		}
	})
	f.t.Cleanup(func() { ln.Close() })
}

func (f *fake) talk(c net.Conn, greeting string) {
	defer c.Close()
	fmt.Fprint(c, greeting)
	in := bufio.NewScanner(c)
	for in.Scan() {
		f.mu.Lock()
		f.lines = append(f.lines, in.Text())
		f.mu.Unlock()
		reply := f.answer(in.Text())
		if reply == "close" {
			return
		}
		fmt.Fprint(c, reply)
	}
}

func (f *fake) seen() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.lines, "\n")
}

func client(t testing.TB, path string) *Dovecot {
	d, err := NewDovecot(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// byNumber answers AUTH and CONT with text in which # is the number.
func byNumber(text string) func(string) string {
	return func(line string) string {
		fields := strings.Split(line, "\t")
		if fields[0] != "AUTH" && fields[0] != "CONT" {
			return ""
		}
		return strings.ReplaceAll(text, "#", fields[1])
	}
}

func TestMechanisms(t *testing.T) {
	f := newFake(t, greeting, byNumber(""))
	d := client(t, f.path)
	now := time.Now()
	d.now = func() time.Time { return now }
	got, err := d.Mechanisms(context.Background())
	want := []Mechanism{{"PLAIN", Plaintext}, {"CRAM-MD5", Dictionary | Active}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	f.ln.Close()
	now = now.Add(9 * time.Second)
	if _, err := d.Mechanisms(context.Background()); err != nil {
		t.Errorf("9 seconds later: %v", err)
	}
	now = now.Add(2 * time.Second)
	if _, err := d.Mechanisms(context.Background()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("11 seconds later, without service: %v", err)
	}
}

func TestBegin(t *testing.T) {
	r := &Request{Service: "smtp", Mechanism: "PLAIN", Initial: "AGEAYg==", HasInitial: true,
		LocalAddr: "127.0.0.1", LocalPort: "25", RemoteAddr: "::1", RemotePort: "9", Secured: true, ValidCert: true}
	for _, tt := range []struct {
		answer string
		want   Step
		err    error
	}{
		{"OK\t#\tuser=a\x011b\tother\n", Step{State: Success, User: "a\x01b"}, nil},
		{"FAIL\t#\tuser=a\treason=no\x01tway\n", Step{State: Failure, User: "a", Reason: "no\tway"}, nil},
		{"FAIL\t#\ttemp\n", Step{State: Failure, Temporary: true}, nil},
		{"FAIL\t#\tcode=temp_fail\n", Step{State: Failure, Temporary: true}, nil},
		{"CONT\t#\tUXE=\n", Step{Challenge: "UXE="}, nil},
		{"CONT\t#\n", Step{}, nil},
		{"NEWS\tx\nOK\t99\tuser=other\nOK\t#\tuser=a\n", Step{State: Success, User: "a"}, nil},
		{"OK\t#\n", Step{}, ErrProtocol},                  // a success of nobody
		{"CONT\t#\tno base64\n", Step{}, ErrProtocol},     // would break the reply
		{strings.Repeat("x", 20000), Step{}, ErrProtocol}, // no end
		{"close", Step{}, ErrUnavailable},
	} {
		f := newFake(t, greeting, byNumber(tt.answer))
		if tt.answer == "close" {
			f.answer = func(line string) string {
				if strings.HasPrefix(line, "AUTH") {
					return "close"
				}
				return ""
			}
		}
		e, step, err := client(t, f.path).Begin(context.Background(), r)
		if !errors.Is(err, tt.err) || !reflect.DeepEqual(step, tt.want) {
			t.Errorf("%.40q: got %+v, %v; want %+v, %v", tt.answer, step, err, tt.want, tt.err)
		}
		if (e != nil) != (err == nil && step.State == Continue) {
			t.Errorf("%.40q: exchange %v", tt.answer, e)
		}
		want := "\tPLAIN\tservice=smtp\tnologin\tlip=127.0.0.1\tlport=25\trip=::1\trport=9\tsecured\tvalid-client-cert\tresp=AGEAYg=="
		if !strings.HasSuffix(f.seen(), want) {
			t.Errorf("asked %q, want ...%q", f.seen(), want)
		}
	}
}

func TestRespondAndCancel(t *testing.T) {
	f := newFake(t, greeting, func(line string) string {
		switch fields := strings.Split(line, "\t"); {
		case fields[0] == "AUTH":
			return "CONT\t" + fields[1] + "\tMQ==\n"
		case fields[0] == "CONT" && fields[2] == "YQ==":
			return "OK\t" + fields[1] + "\tuser=a\n"
		}
		return ""
	})
	d := client(t, f.path)
	ctx := context.Background()
	e, step, err := d.Begin(ctx, &Request{Mechanism: "LOGIN"})
	if err != nil || step.Challenge != "MQ==" {
		t.Fatal(step, err)
	}
	other, _, err := d.Begin(ctx, &Request{Mechanism: "LOGIN"})
	if err != nil {
		t.Fatal(err)
	}
	other.Cancel()
	other.Cancel()
	if _, err := other.Respond(ctx, "YQ=="); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after Cancel: %v", err)
	}
	if step, err = e.Respond(ctx, "YQ=="); err != nil || step.User != "a" {
		t.Fatal(step, err)
	}
}

// TestRestart: without the service there is an error that names it, and the next one
// finds the new service.
func TestRestart(t *testing.T) {
	f := newFake(t, greeting, byNumber("OK\t#\tuser=a\n"))
	d := client(t, f.path)
	begin := func() error { _, _, err := d.Begin(context.Background(), &Request{Mechanism: "PLAIN"}); return err }
	if err := begin(); err != nil {
		t.Fatal(err)
	}
	f.ln.Close()
	if err := begin(); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "connect to Dovecot auth socket '"+f.path+"'") {
		t.Errorf("without service: %v", err)
	}
	f.listen(greeting)
	if err := begin(); err != nil {
		t.Errorf("after it came back: %v", err)
	}
}

func TestGreetings(t *testing.T) {
	for _, g := range []string{"VERSION\t2\t0\nDONE\n", "DONE\n", "MECH\tPLAIN\n" + strings.Repeat("X\n", 1100), "VERSION\nDONE\n", strings.Repeat("x", 20000)} {
		if _, err := client(t, newFake(t, g, byNumber("")).path).Mechanisms(context.Background()); !errors.Is(err, ErrProtocol) {
			t.Errorf("%.20q: error %v, want %v", g, err, ErrProtocol)
		}
	}
}

// TestManyAtOnce: answers reach those who asked.
func TestManyAtOnce(t *testing.T) {
	f := newFake(t, greeting, func(line string) string {
		fields := strings.Split(line, "\t")
		if fields[0] != "AUTH" {
			return ""
		}
		return "OK\t" + fields[1] + "\tuser=" + strings.TrimPrefix(fields[len(fields)-1], "resp=") + "\n"
	})
	d := client(t, f.path)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			name := fmt.Sprint("u", i)
			_, step, err := d.Begin(context.Background(), &Request{Mechanism: "PLAIN", Initial: name, HasInitial: true})
			if err != nil || step.User != name {
				t.Errorf("%s: got %+v, %v", name, step, err)
			}
		})
	}
	wg.Wait()
}

func TestOptions(t *testing.T) {
	plain, strong := Mechanism{"PLAIN", Plaintext}, Mechanism{"X", ForwardSecrecy | MutualAuth}
	for _, tt := range []struct {
		words         string
		plain, strong bool
	}{
		{"", true, true}, {"noanonymous", true, true}, {"NoPlaintext", false, true},
		{"noplaintext mutual_auth", false, true}, {"forward_secrecy", false, true}, {"nodictionary noactive", true, true},
	} {
		o, err := ParseOptions(strings.Fields(tt.words))
		if err != nil || o.Allows(plain) != tt.plain || o.Allows(strong) != tt.strong {
			t.Errorf("%q: %v, plain %v, strong %v", tt.words, err, o.Allows(plain), o.Allows(strong))
		}
	}
	if (Options{}).Allows(Mechanism{"X", Private}) {
		t.Error("a private mechanism is allowed")
	}
	if _, err := ParseOptions([]string{"none"}); err == nil {
		t.Error("an unknown word is taken")
	}
}

// FuzzLine: whatever the service says, an answer is one that may be passed on; and
// fields survive the way there and back.
func FuzzLine(f *testing.F) {
	f.Add("OK\t1\tuser=a")
	f.Add("CONT\t2\tYQ==")
	f.Add("FAIL\t3\ttemp\treason=a\x01tb")
	f.Add("MECH\tPLAIN\tplaintext")
	f.Fuzz(func(t *testing.T, line string) {
		if _, step, ok, err := parseAnswer(splitLine(line)); ok && err == nil {
			if !isBase64(step.Challenge) || step.State == Success && step.User == "" {
				t.Errorf("%q: %+v", line, step)
			}
		}
		if m, ok := parseMech(splitLine(line)); ok && !isMechanismName(m.Name) {
			t.Errorf("%q: %+v", line, m)
		}
		back := strings.TrimSuffix(string(appendLine(nil, line)), "\n")
		if strings.ContainsAny(back, "\t\n\r\x00") || unescape(back) != line {
			t.Errorf("%q became %q, then %q", line, back, unescape(back))
		}
	})
}
