package tlspolicy

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"sealpost/lib/certname"
	"sealpost/lib/dane"
)

// Peer is what a certificate proved about a server.
type Peer struct {
	Present bool   // there was a certificate
	Trusted bool   // it leads to a CA, or TLSA records make one of its certificates trusted
	Matched bool   // it is what the level demands
	Name    string // the expected name that it has, "" where names do not matter
	// Authentic: what matched could not be forged on the way (decision 1).
	Authentic bool
	// Unusable: no TLSA record could be used; nothing was proved.
	Unusable bool
	Why      string // why not Trusted or not Matched, for the log
}

// Secured reports whether the log may say "Verified": matched against something
// that could not be forged by DNS; "halfdane" is only "Trusted".
func (p Peer) Secured(level Level) bool { return p.Matched && level != HalfDANE }

// Verify compares a server's chain, the leaf first, with the policy. pkix is why
// the chain does not lead to a CA that is trusted (nil: it does); it matters where
// Level.UsesPKIX, and for the log at levels that demand no match. An empty chain
// proves nothing.
func (p *Policy) Verify(chain []*x509.Certificate, pkix error, now time.Time) Peer {
	if len(chain) == 0 {
		return Peer{Why: dane.ErrNoCert.Error()}
	}
	peer := Peer{Present: true, Trusted: pkix == nil}
	switch {
	case p.Level == Fingerprint:
		p.verifyFingerprint(&peer, chain[0])
	case p.Level.UsesTLSA():
		p.verifyTLSA(&peer, chain, now)
	case p.Level.UsesPKIX() && pkix == nil:
		p.verifyNames(&peer, chain[0])
	case pkix != nil:
		peer.Why = pkix.Error()
	}
	if peer.Matched && p.STS != nil && p.STS.Failure != "" {
		peer.Matched, peer.Authentic = false, false
		peer.Why = "the policy of " + p.STS.Domain + " cannot be kept: " + p.STS.Failure
	}
	return peer
}

// verifyFingerprint compares digests of the certificate and of its key.
func (p *Policy) verifyFingerprint(peer *Peer, leaf *x509.Certificate) {
	peer.Trusted = false
	for _, data := range [][]byte{leaf.Raw, leaf.RawSubjectPublicKeyInfo} {
		digest, ok := Digest(p.Digest, data)
		if ok && slices.Contains(p.Fingerprints, digest) {
			peer.Trusted, peer.Matched, peer.Authentic = true, true, true
			return
		}
	}
	peer.Why = "certificate and key have none of the fingerprints"
}

func (p *Policy) verifyTLSA(peer *Peer, chain []*x509.Certificate, now time.Time) {
	ref := dane.Reference{Records: p.TLSA, Names: p.NameTexts(), Matcher: p.Matcher, Now: now}
	m, err := ref.Verify(chain)
	peer.Trusted, peer.Matched, peer.Name = err == nil, err == nil, m.Name
	peer.Authentic = peer.Matched && p.HostAuthentic
	if err != nil {
		peer.Trusted = errors.Is(err, dane.ErrName)
		peer.Unusable = errors.Is(err, dane.ErrNoRecords)
		peer.Why = err.Error()
	}
}

// verifyNames looks for an authentic name first: what it proves is more.
func (p *Policy) verifyNames(peer *Peer, leaf *x509.Certificate) {
	names := certname.Of(leaf)
	want, _, ok := p.Matcher.Find(p.NameTexts(), names)
	if !ok {
		peer.Why = fmt.Sprintf("certificate is for %q, not for %q", names, p.NameTexts())
		return
	}
	peer.Matched, peer.Name = true, want
	for _, n := range p.Names {
		if n.Text == want {
			peer.Authentic = n.Authentic
		}
	}
}

// Digest is data's digest in lower-case hexadecimal, by an algorithm of
// smtp_tls_fingerprint_digest.
func Digest(algorithm string, data []byte) (string, bool) {
	var sum hash.Hash
	switch strings.ToLower(algorithm) {
	case "md5":
		sum = md5.New()
	case "sha1":
		sum = sha1.New()
	case "sha224":
		sum = sha256.New224()
	case "sha256":
		sum = sha256.New()
	case "sha384":
		sum = sha512.New384()
	case "sha512":
		sum = sha512.New()
	default:
		return "", false
	}
	sum.Write(data)
	return hex.EncodeToString(sum.Sum(nil)), true
}
