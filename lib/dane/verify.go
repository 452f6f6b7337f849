package dane

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"time"

	"sealpost/lib/certname"
	"sealpost/lib/dns"
)

// Why Verify finds no match.
var (
	ErrNoRecords = errors.New("no usable TLSA records")
	ErrNoCert    = errors.New("the server has no certificate")
	ErrNoMatch   = errors.New("certificate matches no TLSA record")
	ErrName      = errors.New("certificate that leads to the trust anchor has none of the expected names")
	ErrChain     = errors.New("certificate does not lead to the trust anchor")
)

// MaxChain bounds how many certificates of a chain are looked at.
const MaxChain = 16

// Reference is what a chain is compared with.
type Reference struct {
	Records []dns.TLSA       // from Usable; others are passed over
	Names   []string         // for usage 2: base domain, nexthop domain (RFC 7672 §3.2.2)
	Matcher certname.Matcher // how "*" in certificates is understood
	Now     time.Time
}

// Match is how a chain was authenticated.
type Match struct {
	Record dns.TLSA
	Depth  int    // of the certificate that the record is about; 0: the server's own
	Name   string // for usage 2: the expected name; else ""
}

// Verify finds the record that authenticates a server whose chain, the leaf first,
// was received in a handshake. Usage 3 comes first: it needs no more checks.
func (ref Reference) Verify(chain []*x509.Certificate) (Match, error) {
	if len(chain) == 0 {
		return Match{}, ErrNoCert
	}
	if len(chain) > MaxChain {
		chain = chain[:MaxChain]
	}
	why := ErrNoRecords
	for _, r := range ref.Records {
		if r.Usage != UsageEE {
			continue
		}
		why = ErrNoMatch
		if matches(r, chain[0]) {
			return Match{Record: r}, nil
		}
	}
	for _, r := range ref.Records {
		if r.Usage != UsageTA {
			continue
		}
		m, err := ref.anchor(r, chain)
		if err == nil {
			return m, nil
		}
		if why == ErrNoRecords || why == ErrNoMatch {
			why = err
		}
	}
	return Match{}, why
}

// matches compares one certificate with one record.
func matches(r dns.TLSA, cert *x509.Certificate) bool {
	var data []byte
	switch r.Selector {
	case SelectorCert:
		data = cert.Raw
	case SelectorKey:
		data = cert.RawSubjectPublicKeyInfo
	default:
		return false
	}
	switch r.Matching {
	case MatchingFull:
	case MatchingSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case MatchingSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	default:
		return false
	}
	return len(data) > 0 && bytes.Equal(data, r.Data)
}

// anchor tries a record of usage 2: the trust anchor is a certificate of the chain
// above the leaf, or, when the record holds it whole, one that the server left out.
func (ref Reference) anchor(r dns.TLSA, chain []*x509.Certificate) (Match, error) {
	var failed error
	for depth, cert := range chain[1:] {
		if !matches(r, cert) {
			continue
		}
		m := Match{Record: r, Depth: depth + 1}
		if failed = ref.path(&m, chain, cert); failed == nil {
			return m, nil
		}
	}
	if failed != nil {
		return Match{}, failed
	}
	if r.Matching != MatchingFull {
		return Match{}, ErrNoMatch
	}
	for depth, cert := range chain {
		root, err := given(r, cert)
		if err != nil {
			return Match{}, err
		}
		m := Match{Record: r, Depth: depth + 1}
		if failed = ref.path(&m, chain, root); failed == nil || errors.Is(failed, ErrName) {
			return m, failed
		}
	}
	return Match{}, failed
}

// given is the trust anchor that a record holds whole. Of a bare key nothing else
// is known: it is given the name by which child calls its issuer.
func given(r dns.TLSA, child *x509.Certificate) (*x509.Certificate, error) {
	if r.Selector == SelectorCert {
		root, err := x509.ParseCertificate(r.Data)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrData, err)
		}
		return root, nil
	}
	key, err := x509.ParsePKIXPublicKey(r.Data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrData, err)
	}
	template := &x509.Certificate{
		Version: 3, IsCA: true, BasicConstraintsValid: true, MaxPathLen: -1,
		Raw: r.Data, RawSubjectPublicKeyInfo: r.Data,
		PublicKey: key, PublicKeyAlgorithm: algorithm(key),
		RawSubject: child.RawIssuer, Subject: pkix.Name{CommonName: "TLSA trust anchor"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	return template, nil
}

// path checks the way from the leaf to the trust anchor, then the names.
func (ref Reference) path(m *Match, chain []*x509.Certificate, anchor *x509.Certificate) error {
	if chain[0].Equal(anchor) {
		return ErrChain // the server's own certificate is what usage 3 is for
	}
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(anchor)
	for _, cert := range chain[1:] {
		others.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: others, CurrentTime: ref.Now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrChain, err)
	}
	want, _, ok := ref.Matcher.Find(ref.Names, certname.Of(chain[0]))
	if !ok {
		return ErrName
	}
	m.Name = want
	return nil
}

func algorithm(key any) x509.PublicKeyAlgorithm {
	switch key.(type) {
	case *rsa.PublicKey:
		return x509.RSA
	case *ecdsa.PublicKey:
		return x509.ECDSA
	case ed25519.PublicKey:
		return x509.Ed25519
	}
	return x509.UnknownPublicKeyAlgorithm
}
