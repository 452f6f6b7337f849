package capture

import (
	"bytes"
	"errors"
	"testing"
)

func TestConnsAreComplete(t *testing.T) {
	// The parser compares every connection's length with the recorded one, so
	// reading all of them is the test.
	conns := Conns(t, "*-from-*")
	if len(conns) < 250 {
		t.Errorf("got %d connections", len(conns))
	}
	descriptors := 0
	for _, c := range conns {
		for _, p := range c.Pieces {
			if p.Descriptor {
				descriptors++
			}
		}
	}
	if descriptors == 0 {
		t.Error("no piece carries a descriptor")
	}
}

func TestConnsContent(t *testing.T) {
	c := Conns(t, "qmgr-from-postkick")[0]
	if len(c.Server) != 0 || !bytes.HasSuffix(c.Client, []byte{0}) {
		t.Errorf("trigger: client %q, server %q", c.Client, c.Server)
	}
	c = Conns(t, "cleanup-from-local")[0]
	if c.Name() != "cleanup-from-local/1" || !bytes.HasPrefix(c.Client, []byte("flags\x0033\x00\x00T\x111795378728 766774S")) {
		t.Errorf("%s: client begins %q", c.Name(), c.Client[:40])
	}
	if want := "protocol\x00cleanup_protocol\x00queue_id\x00BA4E39C053B\x00\x00status\x000\x00reason\x00\x00\x00"; string(c.Server) != want {
		t.Errorf("server %q", c.Server)
	}
}

func TestQueueFiles(t *testing.T) {
	all := QueueFiles(t, "*")
	if len(all) < 25 {
		t.Errorf("got %d files", len(all))
	}
	f := QueueFile(t, "plain")
	if f.Path != "hold/5F6F39C06A1" || f.Queue != "hold" || f.ID != "5F6F39C06A1" || f.Mode != 0o700 || f.MTime.Unix() != 1795378912 {
		t.Errorf("plain: %+v", f)
	}
	if !bytes.HasPrefix(f.Data, []byte("C_")) || !bytes.HasSuffix(f.Data, []byte("E\x00")) {
		t.Errorf("plain: data %q", f.Data)
	}
	if n := len(Messages(t)); n < 15 || n >= len(all) {
		t.Errorf("%d messages of %d files", n, len(all))
	}
}

func TestMalformedRecordingsAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":         "",
		"no end":          "# connection 1: a\nC>S x\n",
		"wrong length":    "# connection 1: a\nC>S x\n# end of connection 1 (2 bytes C>S, 0 bytes S>C)\n",
		"unknown escape":  "# connection 1: a\nC>S \\q\n# end of connection 1 (1 bytes C>S, 0 bytes S>C)\n",
		"short hex":       "# connection 1: a\nC>S \\x1\n# end of connection 1 (1 bytes C>S, 0 bytes S>C)\n",
		"trailing escape": "# connection 1: a\nC>S \\\n# end of connection 1 (1 bytes C>S, 0 bytes S>C)\n",
	} {
		if _, err := parseConns("x", text); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"no base64":  "# on disk: hold/A mode 0700 size 1 mtime 1\n",
		"wrong size": "# on disk: hold/A mode 0700 size 1 mtime 1\n# base64 of the whole file\nAAAA\n",
		"no path":    "#\n# base64 of the whole file\n\n",
	} {
		if _, err := parseFile("x", text); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
