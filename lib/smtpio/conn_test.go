package smtpio

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestReadLine(t *testing.T) {
	for _, tc := range []struct {
		behaviour, input string
		want             []Line
	}{
		{"CR LF", "a\r\nb\r\n", []Line{{Text: []byte("a")}, {Text: []byte("b")}}},
		{"bare LF", "a\n", []Line{{Text: []byte("a"), BareLF: true}}},
		{"bare CR", "a\rb\r\n", []Line{{Text: []byte("a\rb"), BareCR: true}}},
		{"CR CR LF", "a\r\r\n", []Line{{Text: []byte("a\r"), BareCR: true}}},
		{"empty lines", "\r\n\n", []Line{{}, {BareLF: true}}},
		{"NUL", "a\x00b\r\n", []Line{{Text: []byte("a\x00b")}}},
		{"as long as the limit", "12345678\r\n", []Line{{Text: []byte("12345678")}}},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			for cut := range len(tc.input) {
				c := NewConn(newPieces(tc.input[:cut], tc.input[cut:]))
				for _, want := range tc.want {
					got, err := c.ReadLine(8)
					if err != nil || string(got.Text) != string(want.Text) || got.BareLF != want.BareLF || got.BareCR != want.BareCR {
						t.Errorf("cut %d: %q %v, err %v; want %q %v", cut, got.Text, got, err, want.Text, want)
					}
				}
				if _, err := c.ReadLine(8); err != io.EOF {
					t.Errorf("cut %d: at the end: %v", cut, err)
				}
			}
		})
	}
}

func TestOverlongLineIsOneErrorAndNothingElse(t *testing.T) {
	for _, n := range []int{9, 10, 11, 100, 5000, 20000} {
		c := NewConn(newPieces(strings.Repeat("x", n/2), strings.Repeat("y", n-n/2)+"QUIT\r\n", "next\r\n"))
		if _, err := c.ReadLine(8); err != ErrLineTooLong {
			t.Errorf("%d bytes: %v", n, err)
		}
		if line, err := c.ReadLine(8); err != nil || string(line.Text) != "next" {
			t.Errorf("%d bytes: then %q, %v", n, line.Text, err)
		}
	}
}

func TestFloodIsNotReadToItsEnd(t *testing.T) {
	p := newPieces(strings.Repeat("x", 4<<20))
	if _, err := NewConn(p).ReadLine(2048); err != ErrLineFlood {
		t.Errorf("err %v", err)
	}
	if p.read >= 64<<10 {
		t.Errorf("%d bytes were read", p.read)
	}
}

func TestLineCutOff(t *testing.T) {
	if _, err := NewConn(newPieces("abc")).ReadLine(100); err != io.ErrUnexpectedEOF {
		t.Errorf("err %v", err)
	}
}

// tcpPair is a connection over the loopback network.
func tcpPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func TestRepliesLeaveBeforeTheNextWait(t *testing.T) {
	client, server := tcpPair(t)
	c := NewConn(server)
	c.WriteString("220 one\r\n")
	c.WriteString("220 two\r\n")
	if n := c.Unflushed(); n != 18 {
		t.Errorf("%d bytes wait", n)
	}
	got := make(chan string)
	go func() {
		line, _ := c.ReadLine(100)
		got <- string(line.Text)
	}()
	buf := make([]byte, 100)
	if n, err := client.Read(buf); err != nil || string(buf[:n]) != "220 one\r\n220 two\r\n" {
		t.Errorf("%q, %v: not in one piece", buf[:n], err)
	}
	client.Write([]byte("QUIT\r\n"))
	if text := <-got; text != "QUIT" {
		t.Errorf("line %q", text)
	}
}

func TestNoBufferIsHeldWhileWaiting(t *testing.T) {
	client, server := tcpPair(t)
	c := NewConn(server)
	for _, partial := range []string{"", "MAIL FR"} {
		client.Write([]byte(partial))
		c.SetTimeout(50 * time.Millisecond)
		if _, err := c.ReadLine(100); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("err %v", err)
		}
		if c.in != nil || c.out != nil {
			t.Errorf("after %q a buffer is held", partial)
		}
		if c.Buffered() != len(partial) {
			t.Errorf("after %q: %d bytes buffered", partial, c.Buffered())
		}
	}
	client.Write([]byte("OM\r\n"))
	c.SetTimeout(time.Minute)
	if line, err := c.ReadLine(100); err != nil || string(line.Text) != "MAIL FROM" {
		t.Errorf("%q, %v", line.Text, err)
	}
}

func TestInterrupt(t *testing.T) {
	t.Run("ends a wait that is interruptible", func(t *testing.T) {
		_, server := tcpPair(t)
		c := NewConn(server)
		c.SetInterruptible(true)
		done := make(chan error)
		go func() {
			_, err := c.ReadLine(100)
			done <- err
		}()
		c.Interrupt()
		if err := <-done; err != ErrInterrupted {
			t.Errorf("err %v", err)
		}
	})
	t.Run("leaves others alone", func(t *testing.T) {
		client, server := tcpPair(t)
		c := NewConn(server)
		c.SetTimeout(time.Minute)
		c.Interrupt()
		client.Write([]byte("RCPT\r\n"))
		if line, err := c.ReadLine(100); err != nil || string(line.Text) != "RCPT" {
			t.Errorf("%q, %v", line.Text, err)
		}
		c.SetInterruptible(true)
		if _, err := c.ReadLine(100); err != ErrInterrupted {
			t.Errorf("err %v", err)
		}
	})
	t.Run("does not lose what was received", func(t *testing.T) {
		client, server := tcpPair(t)
		c := NewConn(server)
		client.Write([]byte("one\r\ntwo\r\n"))
		c.ReadLine(100)
		c.SetInterruptible(true)
		c.Interrupt()
		if line, err := c.ReadLine(100); err != nil || string(line.Text) != "two" {
			t.Errorf("%q, %v", line.Text, err)
		}
	})
}

func TestDeadlineIsForAllReadsTogether(t *testing.T) {
	client, server := tcpPair(t)
	c := NewConn(server)
	c.SetTimeout(time.Minute)
	c.SetDeadline(time.Now().Add(50*time.Millisecond), 0)
	stop := make(chan struct{})
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				client.Write([]byte("x"))
			case <-stop:
				return
			}
		}
	}()
	if _, err := c.ReadLine(10000); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("err %v", err)
	}
	close(stop)
}

func TestDataEarnsTime(t *testing.T) {
	c := NewConn(newPieces(strings.Repeat("x", 1000) + "\r\n"))
	start := time.Now().Add(time.Minute)
	c.SetDeadline(start, 500)
	if _, err := c.ReadLine(2000); err != nil {
		t.Fatal(err)
	}
	if earned := c.deadline.Sub(start); earned < 2*time.Second || earned > 3*time.Second {
		t.Errorf("1002 bytes at 500 a second earned %v", earned)
	}
}

func TestReplaceDropsWhatCameBefore(t *testing.T) {
	c := NewConn(newPieces("STARTTLS\r\nMAIL FROM:<inj>\r\n"))
	if _, err := c.ReadLine(100); err != nil {
		t.Fatal(err)
	}
	if n := c.Replace(newPieces("EHLO x\r\n")); n != len("MAIL FROM:<inj>\r\n") {
		t.Errorf("%d bytes dropped", n)
	}
	if line, err := c.ReadLine(100); err != nil || string(line.Text) != "EHLO x" {
		t.Errorf("%q, %v", line.Text, err)
	}
}

func TestDiscard(t *testing.T) {
	c := NewConn(newPieces("abc", "def", "NOOP\r\n"))
	if err := c.Discard(6); err != nil {
		t.Fatal(err)
	}
	if line, err := c.ReadLine(100); err != nil || string(line.Text) != "NOOP" {
		t.Errorf("%q, %v", line.Text, err)
	}
	if err := c.Discard(1); err != io.EOF {
		t.Errorf("err %v", err)
	}
}
