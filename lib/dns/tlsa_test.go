package dns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/miekg/dns"
)

// tlsaReply is a reply with one TLSA record whose data is as given.
func tlsaReply(t testing.TB, query *dns.Msg, rdata []byte) []byte {
	m := new(dns.Msg).SetReply(query)
	m.Compress = false
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	packet[7] = 1 // one answer
	name := []byte("\x03_25\x04_tcp\x02mx\x04test\x00")
	packet = append(packet, name...)
	packet = binary.BigEndian.AppendUint16(packet, dns.TypeTLSA)
	packet = binary.BigEndian.AppendUint16(packet, dns.ClassINET)
	packet = binary.BigEndian.AppendUint32(packet, 60)
	packet = binary.BigEndian.AppendUint16(packet, uint16(len(rdata)))
	return append(packet, rdata...)
}

// tlsaQuery is a question for the records, with a fixed id.
func tlsaQuery() *dns.Msg {
	q := new(client).query("_25._tcp.mx.test", dns.TypeTLSA, true)
	q.Extra = nil
	return q
}

// readTLSA takes a packet the way a lookup does.
func readTLSA(packet []byte, query *dns.Msg) ([]TLSA, error) {
	reply, err := parseReply(packet, query)
	if err != nil {
		return nil, err
	}
	a := interpret(reply, "_25._tcp.mx.test", dns.TypeTLSA)
	if a.kind != nil {
		return nil, a.kind
	}
	var list []TLSA
	for _, rr := range a.records {
		list = append(list, tlsaOf(rr))
	}
	return list, nil
}

// Data of any length is either a record with these bytes or no answer at all; it
// is never "there is no record", which would lower the level.
func checkTLSA(t *testing.T, rdata []byte) {
	query := tlsaQuery()
	list, err := readTLSA(tlsaReply(t, query, rdata), query)
	if err != nil {
		if errors.Is(err, ErrNoData) || errors.Is(err, ErrNotFound) {
			t.Fatalf("%d bytes are taken for no record", len(rdata))
		}
		return
	}
	if len(list) != 1 {
		t.Fatalf("%d bytes became %d records", len(rdata), len(list))
	}
	got := list[0]
	field := func(i int) byte {
		if i < len(rdata) {
			return rdata[i]
		}
		return 0
	}
	if got.Usage != field(0) || got.Selector != field(1) || got.Matching != field(2) {
		t.Fatalf("%x became %+v", rdata, got)
	}
	if want := rdata[min(3, len(rdata)):]; !bytes.Equal(got.Data, want) {
		t.Fatalf("%d bytes of data, want %d", len(got.Data), len(want))
	}
}

func TestTLSAOfEveryLength(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 4, 19, 35, 67, 4096, 65000} {
		data := bytes.Repeat([]byte{3}, n)
		checkTLSA(t, data)
	}
}

func FuzzTLSA(f *testing.F) {
	for _, n := range []int{0, 1, 2, 3, 4, 19, 35} {
		f.Add(bytes.Repeat([]byte{3}, n))
	}
	f.Fuzz(func(t *testing.T, rdata []byte) {
		if len(rdata) <= 65000 {
			checkTLSA(t, rdata)
		}
	})
}

// A whole reply of foreign bytes gives an error or records, and no panic.
func FuzzTLSAReply(f *testing.F) {
	query := tlsaQuery()
	f.Add(tlsaReply(f, query, []byte{3, 1, 1, 0xff})[2:])
	f.Fuzz(func(t *testing.T, packet []byte) {
		packet = append(binary.BigEndian.AppendUint16(nil, query.Id), packet...)
		list, err := readTLSA(packet, query)
		if err == nil && len(list) > MaxRecords {
			t.Fatalf("%d records", len(list))
		}
	})
}

func TestParseProbe(t *testing.T) {
	for probe, want := range map[string]string{"ns:.": ". 2", ".": ". 2", "MX:example.org": "example.org. 15", "example.org": "example.org. 2"} {
		name, qtype, err := ParseProbe(probe)
		if got := fmt.Sprint(name, " ", qtype); err != nil || got != want {
			t.Errorf("%q: %q, %v", probe, got, err)
		}
	}
	for _, probe := range []string{"", ":", "ns:", "zz:.", "ns:a b", "ns:..", "a:b:c"} {
		if _, _, err := ParseProbe(probe); err == nil {
			t.Errorf("%q was taken", probe)
		}
	}
}
