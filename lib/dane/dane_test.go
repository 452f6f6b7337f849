package dane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"sealpost/lib/dns"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// authority is a key with its certificate.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// issue makes a certificate: of an authority when names is empty, else of a server.
func issue(t testing.TB, parent *authority, cn string, change func(*x509.Certificate), names ...string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, DNSNames: names,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		BasicConstraintsValid: true, IsCA: len(names) == 0,
	}
	if change != nil {
		change(template)
	}
	signer, issuer := crypto.Signer(key), template
	if parent != nil {
		signer, issuer = parent.key, parent.cert
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

// record is the one that describes a certificate.
func record(usage, selector, matching uint8, cert *x509.Certificate) dns.TLSA {
	data := cert.Raw
	if selector == SelectorKey {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch matching {
	case MatchingSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case MatchingSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return dns.TLSA{Usage: usage, Selector: selector, Matching: matching, Data: data}
}

func digests(t testing.TB, text string) Digests {
	d, err := ParseDigests(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEverySelectorAndMatchingType(t *testing.T) {
	root := issue(t, nil, "root", nil)
	middle := issue(t, &root, "middle", nil)
	leaf := issue(t, &middle, "leaf", nil, "mx.test")
	other := issue(t, nil, "root", nil)
	stranger := issue(t, &other, "leaf", nil, "mx.test")
	d := digests(t, "sha512 sha256")
	full := []*x509.Certificate{leaf.cert, middle.cert, root.cert}
	for selector := range uint8(2) {
		for matching := range uint8(3) {
			for _, tt := range []struct {
				name    string
				record  dns.TLSA
				chain   []*x509.Certificate
				matches bool
			}{
				{"the server's own", record(UsageEE, selector, matching, leaf.cert), full[:1], true},
				{"another server's", record(UsageEE, selector, matching, stranger.cert), full, false},
				{"the root of the chain", record(UsageTA, selector, matching, root.cert), full, true},
				{"the middle of the chain", record(UsageTA, selector, matching, middle.cert), full, true},
				{"the middle, and the root is left out", record(UsageTA, selector, matching, middle.cert), full[:2], true},
				{"the root is left out", record(UsageTA, selector, matching, root.cert), full[:2], matching == MatchingFull},
				{"all authorities are left out", record(UsageTA, selector, matching, middle.cert), full[:1], matching == MatchingFull},
				{"another root of that name", record(UsageTA, selector, matching, other.cert), full, false},
				{"a root that the server only shows", record(UsageTA, selector, matching, other.cert), append(full[:3:3], other.cert), false},
				{"the leaf is no trust anchor", record(UsageTA, selector, matching, leaf.cert), full, false},
				{"an authority is no server", record(UsageEE, selector, matching, middle.cert), full, false},
			} {
				if err := d.Check(tt.record); err != nil {
					t.Fatal(err)
				}
				ref := Reference{Records: []dns.TLSA{tt.record}, Names: []string{"mx.test"}, Now: now}
				m, err := ref.Verify(tt.chain)
				if (err == nil) != tt.matches {
					t.Errorf("%s, selector %d, matching type %d: %+v, %v", tt.name, selector, matching, m, err)
				}
			}
		}
	}
}

func TestNamesAndDates(t *testing.T) {
	root := issue(t, nil, "root", nil)
	expired := func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }
	client := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	tests := []struct {
		name   string
		leaf   authority
		ee, ta error
	}{
		{"the right name", issue(t, &root, "leaf", nil, "mx.test"), nil, nil},
		{"the destination's name", issue(t, &root, "leaf", nil, "example.test"), nil, nil},
		{"another name", issue(t, &root, "leaf", nil, "other.test"), nil, ErrName},
		{"expired", issue(t, &root, "leaf", expired, "mx.test"), nil, ErrChain},
		{"for clients only", issue(t, &root, "leaf", client, "mx.test"), nil, ErrChain},
		{"self-signed", issue(t, nil, "leaf", nil, "mx.test"), nil, ErrChain},
	}
	for _, tt := range tests {
		chain := []*x509.Certificate{tt.leaf.cert, root.cert}
		for usage, want := range map[uint8]error{UsageEE: tt.ee, UsageTA: tt.ta} {
			subject := tt.leaf.cert
			if usage == UsageTA {
				subject = root.cert
			}
			ref := Reference{Records: []dns.TLSA{record(usage, 1, 1, subject)}, Names: []string{"mx.test", "example.test"}, Now: now}
			if _, err := ref.Verify(chain); !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("%s, usage %d: %v, want %v", tt.name, usage, err, want)
			}
		}
	}
}

func TestOneMatchingRecordIsEnough(t *testing.T) {
	root := issue(t, nil, "root", nil)
	leaf := issue(t, &root, "leaf", nil, "mx.test")
	wrong := record(UsageEE, 1, 1, root.cert)
	ref := Reference{Records: []dns.TLSA{wrong, record(UsageTA, 0, 2, root.cert)}, Names: []string{"mx.test"}, Now: now}
	m, err := ref.Verify([]*x509.Certificate{leaf.cert, root.cert})
	if err != nil || m.Depth != 1 || m.Name != "mx.test" || m.Record.Usage != UsageTA {
		t.Errorf("%+v, %v", m, err)
	}
	for _, tt := range []struct {
		records []dns.TLSA
		chain   []*x509.Certificate
		want    error
	}{
		{nil, []*x509.Certificate{leaf.cert}, ErrNoRecords},
		{[]dns.TLSA{{Usage: 1, Data: leaf.cert.Raw}}, []*x509.Certificate{leaf.cert}, ErrNoRecords},
		{[]dns.TLSA{wrong}, []*x509.Certificate{leaf.cert}, ErrNoMatch},
		{[]dns.TLSA{wrong}, nil, ErrNoCert},
	} {
		ref.Records = tt.records
		if _, err := ref.Verify(tt.chain); !errors.Is(err, tt.want) {
			t.Errorf("%v, want %v", err, tt.want)
		}
	}
}

func TestUsable(t *testing.T) {
	leaf := issue(t, nil, "leaf", nil, "mx.test").cert
	tests := []struct {
		name    string
		digests string
		r       dns.TLSA
		want    error
	}{
		{"sha256", "sha256", record(3, 1, 1, leaf), nil},
		{"whole certificate", "sha256", record(3, 0, 0, leaf), nil},
		{"whole key", "", record(2, 1, 0, leaf), nil},
		{"PKIX-TA", "sha256", record(0, 1, 1, leaf), ErrUsage},
		{"PKIX-EE", "sha256", record(1, 1, 1, leaf), ErrUsage},
		{"usage 4", "sha256", record(4, 1, 1, leaf), ErrUsage},
		{"usage 255", "sha256", record(255, 1, 1, leaf), ErrUsage},
		{"selector 2", "sha256", dns.TLSA{Usage: 3, Selector: 2, Matching: 1, Data: make([]byte, 32)}, ErrSelector},
		{"matching type 3", "sha256 sha512", dns.TLSA{Usage: 3, Selector: 1, Matching: 3, Data: make([]byte, 32)}, ErrMatching},
		{"a digest that is not enabled", "sha256", record(3, 1, 2, leaf), ErrMatching},
		{"no data", "sha256", dns.TLSA{Usage: 3, Selector: 1, Matching: 1}, ErrLength},
		{"19 bytes", "sha256", dns.TLSA{Usage: 3, Selector: 1, Matching: 1, Data: make([]byte, 19)}, ErrLength},
		{"65,535 bytes", "sha256", dns.TLSA{Usage: 3, Selector: 1, Matching: 1, Data: make([]byte, 65535)}, ErrLength},
		{"sha512 with the length of sha256", "sha512", dns.TLSA{Usage: 3, Selector: 1, Matching: 2, Data: make([]byte, 32)}, ErrLength},
		{"a certificate that is none", "sha256", dns.TLSA{Usage: 3, Data: []byte{0x30, 0x82, 1}}, ErrData},
		{"a key that is none", "sha256", dns.TLSA{Usage: 3, Selector: 1, Data: []byte{0x30, 0x82, 1}}, ErrData},
		{"a certificate with more behind it", "sha256", dns.TLSA{Usage: 3, Data: append(slices.Clone(leaf.Raw), 0)}, ErrData},
	}
	for _, tt := range tests {
		d := digests(t, tt.digests)
		if err := d.Check(tt.r); !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestTheStrongestDigestCounts(t *testing.T) {
	leaf := issue(t, nil, "leaf", nil, "mx.test").cert
	short, long, whole := record(3, 1, 1, leaf), record(3, 1, 2, leaf), record(3, 1, 0, leaf)
	otherSelector := record(3, 0, 1, leaf)
	usable, not := digests(t, "sha512 sha256").Usable([]dns.TLSA{short, long, long, whole, otherSelector, {Usage: 9}})
	want := []dns.TLSA{long, whole, otherSelector}
	if len(usable) != len(want) || len(not) != 1 {
		t.Fatalf("%d usable, %d not", len(usable), len(not))
	}
	for i := range want {
		if !equal(usable[i], want[i]) {
			t.Errorf("record %d: %s", i, Describe(usable[i]))
		}
	}
	// A digest that is not enabled does not hide a weaker one.
	if usable, _ = digests(t, "sha256").Usable([]dns.TLSA{long, short}); len(usable) != 1 || !equal(usable[0], short) {
		t.Errorf("%d usable", len(usable))
	}
	many := slices.Repeat([]dns.TLSA{{Usage: 9}}, MaxRecords+1)
	if _, not := digests(t, "sha256").Usable(many); len(not) != MaxRecords {
		t.Errorf("%d records were looked at", len(not))
	}
}

func TestParseDigests(t *testing.T) {
	for text, want := range map[string]Digests{
		"sha512 sha256": {2, 1}, "SHA256=1, sha512=2": {1, 2}, "": nil, "sha256 sha256": {1},
	} {
		if got, err := ParseDigests(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"md5", "sha256=2", "sha256=", "sha3"} {
		if _, err := ParseDigests(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestBases(t *testing.T) {
	tests := []struct {
		name   string
		a      Alias
		secure bool
		want   []string
	}{
		{"signed addresses", Alias{}, true, []string{"mx.test"}},
		{"unsigned addresses", Alias{}, false, nil},
		{"a signed alias", Alias{Target: "t.test", Secure: true}, true, []string{"t.test", "mx.test"}},
		{"an alias out of a signed zone", Alias{Target: "t.test", FirstSecure: true}, false, []string{"mx.test"}},
		{"an alias out of an unsigned zone", Alias{Target: "t.test"}, false, nil},
		{"only the end of the way is signed", Alias{Target: "t.test"}, true, nil},
	}
	for _, tt := range tests {
		if got := Bases("mx.test", tt.a, tt.secure); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

// Whatever a record holds: nothing panics, a record that is not usable matches
// nothing, and a match means that the data describes a certificate of the chain or
// one that signed it.
func FuzzVerify(f *testing.F) {
	root := issue(f, nil, "root", nil)
	leaf := issue(f, &root, "leaf", nil, "mx.test")
	chain := []*x509.Certificate{leaf.cert, root.cert}
	for usage := range uint8(5) {
		r := record(usage, usage%3, usage%3, leaf.cert)
		f.Add(r.Usage, r.Selector, r.Matching, r.Data)
	}
	for _, matching := range []uint8{0, 1, 2} {
		r := record(2, 1, matching, root.cert)
		f.Add(r.Usage, r.Selector, r.Matching, r.Data)
	}
	f.Add(uint8(3), uint8(0), uint8(0), []byte{})
	d := digests(f, "sha512 sha256")
	f.Fuzz(func(t *testing.T, usage, selector, matching uint8, data []byte) {
		r := dns.TLSA{Usage: usage, Selector: selector, Matching: matching, Data: data}
		usable, not := d.Usable([]dns.TLSA{r})
		if len(usable)+len(not) != 1 {
			t.Fatalf("%d usable, %d not", len(usable), len(not))
		}
		ref := Reference{Records: []dns.TLSA{r}, Names: []string{"mx.test"}, Now: now}
		m, err := ref.Verify(chain)
		if err != nil {
			return
		}
		if len(not) != 0 {
			t.Fatalf("%s is not usable and matches", Describe(r))
		}
		subject := leaf.cert
		if usage == UsageTA {
			subject = root.cert
		}
		if !equal(r, record(usage, selector, matching, subject)) {
			t.Fatalf("%s matches at depth %d", Describe(r), m.Depth)
		}
	})
}
