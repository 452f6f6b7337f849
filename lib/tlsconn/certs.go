package tlsconn

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Errors of certificate files; each is wrapped with the file's name.
var (
	ErrNoKey     = errors.New("there is no private key in the file; put it before its certificate")
	ErrNoCert    = errors.New("there is no certificate in the file")
	ErrKeyFirst  = errors.New("a certificate comes before any private key; put each key before its certificate")
	ErrMismatch  = errors.New("the private key does not belong to the certificate")
	ErrEncrypted = errors.New("the private key is encrypted; a mail server needs one without a passphrase")
	ErrKeyType   = errors.New("the private key is not RSA, ECDSA or Ed25519")
)

// Pair names a certificate file and a key file (smtpd_tls_cert_file and
// smtpd_tls_key_file, also with "ec" and "d"). Both may be one file.
type Pair struct{ CertFile, KeyFile string }

// Certificates are what one side can show, with the files they came from.
type Certificates struct {
	List     []tls.Certificate
	Files    []string
	Warnings []string // expired, or not valid yet
}

// LoadChains reads files in the form of smtpd_tls_chain_files: private key,
// certificate, issuers; then perhaps another key and so on. A key may stand at
// the end of one file and its certificates in the next.
func LoadChains(files []string, now time.Time) (Certificates, error) {
	out := Certificates{Files: files}
	var blocks []namedBlock
	for _, file := range files {
		b, err := readBlocks(file)
		if err != nil {
			return out, err
		}
		blocks = append(blocks, b...)
	}
	if len(files) > 0 && len(blocks) == 0 {
		return out, fmt.Errorf("%s: %w", files[0], ErrNoKey)
	}
	return out, out.addChains(blocks, now)
}

// addChains takes keys, each with the certificates that follow it.
func (c *Certificates) addChains(blocks []namedBlock, now time.Time) error {
	for i := 0; i < len(blocks); {
		if blocks[i].isCert() {
			return fmt.Errorf("%s: %w", blocks[i].file, ErrKeyFirst)
		}
		j := i + 1
		for j < len(blocks) && blocks[j].isCert() {
			j++
		}
		if err := c.add(blocks[i], blocks[i+1:j], now); err != nil {
			return err
		}
		i = j
	}
	return nil
}

// LoadPairs reads certificates whose keys may be in other files. A pair without a
// certificate file is passed over.
func LoadPairs(pairs []Pair, now time.Time) (Certificates, error) {
	var out Certificates
	pairs = slices.Clone(pairs)
	pairs = slices.DeleteFunc(pairs, func(p Pair) bool { return p.CertFile == "" || p.CertFile == "none" })
	for i := range pairs {
		if pairs[i].KeyFile == "" {
			pairs[i].KeyFile = pairs[i].CertFile
		}
		// Also of those that cannot be read: their change is what is waited for.
		out.Files = append(out.Files, pairs[i].CertFile, pairs[i].KeyFile)
	}
	for _, p := range pairs {
		certs, err := readBlocks(p.CertFile)
		if err != nil {
			return out, err
		}
		keys, err := readBlocks(p.KeyFile)
		if err != nil {
			return out, err
		}
		certs = slices.DeleteFunc(certs, func(b namedBlock) bool { return !b.isCert() })
		keys = slices.DeleteFunc(keys, func(b namedBlock) bool { return b.isCert() })
		if len(certs) == 0 {
			return out, fmt.Errorf("%s: %w", p.CertFile, ErrNoCert)
		}
		if len(keys) == 0 {
			return out, fmt.Errorf("%s: there is no private key for %s in the file", p.KeyFile, p.CertFile)
		}
		if err := out.add(keys[0], certs, now); err != nil {
			return out, err
		}
	}
	return out, nil
}

// Files that are replaced one after the other, or written in place, are given this
// long to become whole.
const (
	SettleTime = 3 * time.Second
	settleStep = 50 * time.Millisecond
)

// Settle reads certificate files until each key is there and belongs to its
// certificate, or until the time is over: a worker that starts because a file was
// replaced must not come too early for the rest. Clients wait in the backlog meanwhile.
func Settle(by time.Time, load func() (Certificates, error)) (Certificates, error) {
	for {
		certs, err := load()
		unfinished := errors.Is(err, ErrMismatch) || errors.Is(err, ErrNoKey) || errors.Is(err, ErrNoCert)
		if !unfinished || time.Now().After(by) {
			return certs, err
		}
		time.Sleep(settleStep)
	}
}

// add makes a certificate of a key and a chain.
func (c *Certificates) add(key namedBlock, chain []namedBlock, now time.Time) error {
	if len(chain) == 0 {
		return fmt.Errorf("%s: %w", key.file, ErrNoCert)
	}
	var cert tls.Certificate
	for _, b := range chain {
		cert.Certificate = append(cert.Certificate, b.Bytes)
	}
	leaf, err := x509.ParseCertificate(chain[0].Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", chain[0].file, err)
	}
	cert.Leaf = leaf
	private, err := parseKey(key)
	if err != nil {
		return fmt.Errorf("%s: %w", key.file, err)
	}
	if !belongs(private, leaf.PublicKey) {
		return fmt.Errorf("%s: %w in %s (%s)", key.file, ErrMismatch, chain[0].file, leaf.Subject)
	}
	cert.PrivateKey = private
	c.List = append(c.List, cert)
	switch {
	case now.After(leaf.NotAfter):
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s: the certificate of %s has expired on %s", chain[0].file, leaf.Subject, leaf.NotAfter.Format(time.DateOnly)))
	case now.Before(leaf.NotBefore):
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s: the certificate of %s is not valid before %s", chain[0].file, leaf.Subject, leaf.NotBefore.Format(time.DateOnly)))
	}
	return nil
}

func belongs(private crypto.Signer, public any) bool {
	type equaler interface{ Equal(crypto.PublicKey) bool }
	k, ok := private.Public().(equaler)
	return ok && k.Equal(public)
}

// namedBlock is a PEM block and the file it stands in.
type namedBlock struct {
	*pem.Block
	file string
}

func (b namedBlock) isCert() bool { return b.Type == "CERTIFICATE" }

func parseKey(b namedBlock) (crypto.Signer, error) {
	if b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "" {
		return nil, ErrEncrypted
	}
	var key any
	var err error
	switch b.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return k, nil
	case *ecdsa.PrivateKey:
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, ErrKeyType
}

// LoadRoots reads the CAs that are trusted: the certificates of a file and of all
// files of a directory, and with system those of the operating system. Nothing
// named and no system: nobody is trusted. The files are those to watch.
func LoadRoots(file, dir string, system bool) (pool *x509.CertPool, files []string, err error) {
	pool = x509.NewCertPool()
	if system {
		if pool, err = x509.SystemCertPool(); err != nil {
			return nil, nil, fmt.Errorf("the system's CA certificates: %w", err)
		}
	}
	if file != "" {
		if err := addRoots(pool, file); err != nil {
			return nil, nil, err
		}
		files = append(files, file)
	}
	if dir == "" {
		return pool, files, nil
	}
	files = append(files, dir) // its time changes when a file comes or goes
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() {
			continue
		}
		if err := addRoots(pool, path); err != nil && !errors.Is(err, ErrNoCert) {
			return nil, nil, err
		}
		files = append(files, path)
	}
	return pool, files, nil
}

func addRoots(pool *x509.CertPool, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !bytes.Contains(text, []byte("-----BEGIN")) || !pool.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s: %w", file, ErrNoCert)
	}
	return nil
}
