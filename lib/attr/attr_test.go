package attr

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sealpost/test/capture"
)

func decoder(s string, m Mode) *Decoder {
	return NewDecoder(bufio.NewReaderSize(strings.NewReader(s), 16), m)
}

// wire writes NUL as "|".
func wire(s string) string { return strings.ReplaceAll(s, "|", "\x00") }

func TestEncoderBytes(t *testing.T) {
	for _, c := range []struct {
		name   string
		encode func(e *Encoder)
		want   string
	}{
		{"the specification's example", func(e *Encoder) { e.Int("status", 0); e.Str("reason", "ok"); e.End() }, "status|0|reason|ok||"},
		{"empty string", func(e *Encoder) { e.Str("a", "") }, "a||"},
		{"minus one, 32 bits", func(e *Encoder) { e.Int("a", -1) }, "a|4294967295|"},
		{"minus one, 64 bits", func(e *Encoder) { e.Long("a", -1) }, "a|18446744073709551615|"},
		{"bool", func(e *Encoder) { e.Bool("a", true); e.Bool("b", false) }, "a|1|b|0|"},
		{"base64", func(e *Encoder) { e.Data("a", []byte{0, 1, 2, 3}) }, "a|AAECAw==|"},
		{"sorted hash", func(e *Encoder) { e.Hash(map[string]string{"b": "2", "a": "1"}) }, "{|a|1|b|2|}|"},
		{"NUL in a value cannot forge attributes", func(e *Encoder) { e.Str("a", "x\x00status\x000\x00\x00") }, "a|x|"},
		{"hash keys that end it are left out", func(e *Encoder) { e.Hash(map[string]string{"": "x", "}": "y", "a\x00b": "z"}) }, "{|}|"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e Encoder
			c.encode(&e)
			if got := string(e.Bytes()); got != wire(c.want) {
				t.Errorf("got %q, want %q", got, wire(c.want))
			}
		})
	}
}

func TestDecoderValues(t *testing.T) {
	for _, c := range []struct {
		name, in string
		mode     Mode
		read     func(d *Decoder) any
		want     any
	}{
		{"string", "a|x||", Strict, func(d *Decoder) any { return d.Str("a") }, "x"},
		{"long string", "a|" + strings.Repeat("x", 5000) + "||", Strict, func(d *Decoder) any { return d.Str("a") }, strings.Repeat("x", 5000)},
		{"number", "a|42||", Strict, func(d *Decoder) any { return d.Int("a") }, 42},
		{"unsigned -1", "a|4294967295||", Strict, func(d *Decoder) any { return d.Int("a") }, -1},
		{"signed -1", "a|-1||", Strict, func(d *Decoder) any { return d.Int("a") }, -1},
		{"long", "a|18446744073709551615||", Strict, func(d *Decoder) any { return d.Long("a") }, int64(-1)},
		{"bool", "a|1||", Strict, func(d *Decoder) any { return d.Bool("a") }, true},
		{"data", "a|AAEC||", Strict, func(d *Decoder) any { return string(d.Data("a")) }, "\x00\x01\x02"},
		{"hash", "{|a|1|b|2|}||", Strict, func(d *Decoder) any { return d.Hash() }, map[string]string{"a": "1", "b": "2"}},
		{"first of equal keys", "{|a|1|a|2|}||", Strict, func(d *Decoder) any { return d.Hash() }, map[string]string{"a": "1"}},
		{"unknown item skipped", "z|9|a|x||", Lenient, func(d *Decoder) any { return d.Str("a") }, "x"},
		{"unknown hash skipped", "{|a|y|}|a|x||", Lenient, func(d *Decoder) any { return d.Str("a") }, "x"},
		{"surplus skipped", "a|x|b|y||", Lenient, func(d *Decoder) any { return d.Str("a") }, "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := decoder(wire(c.in)+wire("next|1||"), c.mode)
			got := c.read(d)
			if err := d.End(); err != nil {
				t.Fatal(err)
			}
			if !cmp.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if n := d.Int("next"); n != 1 || d.End() != nil {
				t.Errorf("the list after it: %d", n)
			}
			if err := d.End(); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

func TestDecoderErrors(t *testing.T) {
	str := func(d *Decoder) { d.Str("a") }
	num := func(d *Decoder) { d.Int("a") }
	hash := func(d *Decoder) { d.Hash() }
	for _, c := range []struct {
		name, in string
		mode     Mode
		read     func(d *Decoder)
		want     error
	}{
		{"nothing", "", Strict, str, io.EOF},
		{"cut in a name", "a", Strict, str, io.ErrUnexpectedEOF},
		{"cut in a value", "a|x", Strict, str, io.ErrUnexpectedEOF},
		{"cut before the end byte", "a|x|", Strict, str, io.ErrUnexpectedEOF},
		{"missing", "|", Strict, str, ErrMissing},
		{"missing, lenient", "b|1||", Lenient, str, ErrMissing},
		{"other attribute", "b|1|a|x||", Strict, str, ErrUnexpected},
		{"surplus", "a|x|b|1||", Strict, str, ErrUnexpected},
		{"number with tail", "a|1x||", Strict, num, ErrMalformed},
		{"empty number", "a|||", Strict, num, ErrMalformed},
		{"number above 32 bits", "a|4294967296||", Strict, num, ErrMalformed},
		{"no bool", "a|2||", Strict, func(d *Decoder) { d.Bool("a") }, ErrMalformed},
		{"no base64", "a|%||", Strict, func(d *Decoder) { d.Data("a") }, ErrMalformed},
		{"other protocol", "protocol|x||", Strict, func(d *Decoder) { d.Const("protocol", "y") }, ErrProtocol},
		{"no hash", "a|x||", Strict, hash, ErrUnexpected},
		{"hash with an empty name", "{|a|1|||}||", Strict, hash, ErrMalformed},
		{"skipped hash with an empty name", "{|||}|a|x||", Lenient, str, ErrMalformed},
		{"hash without end", "{|a|1|", Strict, hash, io.ErrUnexpectedEOF},
		{"name too long", strings.Repeat("n", MaxName+1) + "|x||", Strict, str, ErrLimit},
		{"value too long", "a|" + strings.Repeat("v", MaxValue+1) + "||", Strict, str, ErrLimit},
		{"hash too long", "{|" + strings.Repeat("a|b|", 1) + manyKeys(MaxHash+1) + "}||", Strict, hash, ErrLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := decoder(wire(c.in), c.mode)
			c.read(d)
			if err := d.End(); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat("k", 1+i%200) + string(rune('A'+i/200)) + "|v|")
	}
	return b.String()
}

func TestListOfLists(t *testing.T) {
	d := decoder(wire("a|1||a|2|||"), Strict)
	var got []int
	for {
		more, err := d.More()
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
		got = append(got, d.Int("a"))
		if err := d.End(); err != nil {
			t.Fatal(err)
		}
	}
	if !cmp.Equal(got, []int{1, 2}) {
		t.Errorf("got %v", got)
	}
	if _, err := d.More(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestGroupsUntilTheEnd(t *testing.T) {
	d := decoder(wire("h|0|a|1|b|2|a|3|b|4||"), Strict)
	d.Str("h")
	var got []string
	for d.MoreItems() {
		got = append(got, d.Str("a")+d.Str("b"))
	}
	if err := d.End(); err != nil || !cmp.Equal(got, []string{"12", "34"}) {
		t.Errorf("got %v, %v", got, err)
	}
	if d.MoreItems() || d.End() != io.EOF {
		t.Error("something after the end")
	}
}

func TestRoundTripOfNumbers(t *testing.T) {
	var e Encoder
	values := []int64{0, 1, -1, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64}
	for _, v := range values {
		e.Long("v", v)
		e.Int("w", int(int32(v)))
	}
	e.End()
	d := decoder(string(e.Bytes()), Strict)
	for _, v := range values {
		if got := d.Long("v"); got != v {
			t.Errorf("long %d: %d", v, got)
		}
		if got := d.Int("w"); got != int(int32(v)) {
			t.Errorf("int %d: %d", int32(v), got)
		}
	}
	if err := d.End(); err != nil {
		t.Error(err)
	}
}

// FuzzDecoder reads foreign bytes in every way: no panic, an error stays, and
// what a list of strings gave, encoded again, is read back.
func FuzzDecoder(f *testing.F) {
	for _, c := range capture.Conns(f, "*-from-*") {
		f.Add(c.Client)
		f.Add(c.Server)
	}
	f.Add([]byte(wire("{|a|1|}|b|2||")))
	f.Add([]byte(wire("{|||}||")))
	f.Fuzz(func(t *testing.T, in []byte) {
		strict := decoder(string(in), Strict)
		strict.Const("protocol", "cleanup_protocol")
		strict.Int("flags")
		strict.Hash()
		if err := strict.Err(); err != nil && strict.Str("x") != "" {
			t.Error("a value after an error")
		}
		strict.End()

		d := decoder(string(in), Lenient)
		for {
			a, b, hash := d.Str("queue_id"), d.Str("reason"), d.Hash()
			if d.End() != nil {
				return
			}
			var e Encoder
			e.Str("queue_id", a)
			e.Str("reason", b)
			e.Hash(hash)
			e.End()
			back := NewDecoder(bufio.NewReader(bytes.NewReader(e.Bytes())), Strict)
			if back.Str("queue_id") != a || back.Str("reason") != b || !cmp.Equal(back.Hash(), hash) || back.End() != nil {
				t.Errorf("not read back: %q", e.Bytes())
			}
		}
	})
}
