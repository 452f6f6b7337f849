package tlspolicy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"sealpost/lib/dns"
	"sealpost/lib/mtasts"
)

// server makes a self-signed certificate.
func server(t *testing.T, names ...string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cn.test"}, DNSNames: names,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<34, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestVerify(t *testing.T) {
	cert := server(t, "mx.test", "other.test")
	untrusted := errors.New("signed by nobody")
	key := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	own := []dns.TLSA{{Usage: 3, Selector: 1, Matching: 1, Data: key[:]}}
	digest := func(algorithm string, data []byte) []string {
		text, ok := Digest(algorithm, data)
		if !ok {
			t.Fatal(algorithm)
		}
		return []string{strings.Repeat("00", len(text)/2), text}
	}
	byHost := []Name{{"mx.test", Hostname, false}}
	both := []Name{{"mx.test", Hostname, false}, {"other.test", Nexthop, true}}
	tests := []struct {
		name   string
		policy Policy
		pkix   error
		want   string // t trusted, m matched, a authentic, u unusable
		as     string
	}{
		{"may, trusted", Policy{Level: May}, nil, "t", ""},
		{"may, untrusted", Policy{Level: May}, untrusted, "", ""},
		{"encrypt matches nothing", Policy{Level: Encrypt, Names: both}, nil, "t", ""},
		{"sha256 of the certificate", Policy{Level: Fingerprint, Digest: "sha256", Fingerprints: digest("sha256", cert.Raw)}, untrusted, "tma", ""},
		{"md5 of the key", Policy{Level: Fingerprint, Digest: "md5", Fingerprints: digest("md5", cert.RawSubjectPublicKeyInfo)}, untrusted, "tma", ""},
		{"a fingerprint by another algorithm", Policy{Level: Fingerprint, Digest: "sha1", Fingerprints: digest("sha256", cert.Raw)}, nil, "", ""},
		{"an unknown algorithm", Policy{Level: Fingerprint, Digest: "sha9", Fingerprints: []string{""}}, nil, "", ""},
		{"verify", Policy{Level: Verify, Names: byHost}, nil, "tm", "mx.test"},
		{"an authentic name comes first", Policy{Level: Verify, Names: both}, nil, "tma", "other.test"},
		{"verify, untrusted", Policy{Level: Verify, Names: both}, untrusted, "", ""},
		{"secure, another name", Policy{Level: Secure, Names: []Name{{"cn.test", Nexthop, true}}}, nil, "t", ""},
		{"no name at all", Policy{Level: Secure}, nil, "t", ""},
		{"dane", Policy{Level: DANE, TLSA: own, HostAuthentic: true}, untrusted, "tma", ""},
		{"half dane", Policy{Level: HalfDANE, TLSA: own}, untrusted, "tm", ""},
		{"dane, trusted by a CA alone", Policy{Level: DANE, TLSA: []dns.TLSA{good}, HostAuthentic: true}, nil, "", ""},
		{"dane without usable records", Policy{Level: DANE, HostAuthentic: true}, nil, "u", ""},
		{"an STS policy that cannot be kept", Policy{Level: Secure, Names: both, STS: &mtasts.Attributes{Failure: "sts-policy-invalid"}}, nil, "t", "other.test"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			peer := tt.policy.Verify([]*x509.Certificate{cert}, tt.pkix, time.Unix(1000, 0))
			got := ""
			for _, flag := range []struct {
				on   bool
				text string
			}{{peer.Trusted, "t"}, {peer.Matched, "m"}, {peer.Authentic, "a"}, {peer.Unusable, "u"}} {
				if flag.on {
					got += flag.text
				}
			}
			if got != tt.want || peer.Name != tt.as || !peer.Present {
				t.Errorf("%+v", peer)
			}
			if !peer.Matched && tt.policy.Level.MatchesCertificate() && peer.Why == "" {
				t.Error("nobody is told why")
			}
		})
	}
}

func TestNoCertificateProvesNothing(t *testing.T) {
	for level := None; level <= Secure; level++ {
		p := Policy{Level: level, Names: []Name{{"mx.test", Nexthop, true}}, Fingerprints: []string{""}, TLSA: []dns.TLSA{good}, HostAuthentic: true}
		if peer := p.Verify(nil, nil, time.Now()); peer.Present || peer.Trusted || peer.Matched || peer.Authentic {
			t.Errorf("%s: %+v", level, peer)
		}
	}
}
