package tlsconn

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// ParseChain reads key and certificates from text in the form of
// smtpd_tls_chain_files. name stands for the file in errors.
func ParseChain(name string, text []byte, now time.Time) (Certificates, error) {
	var out Certificates
	return out, out.addChains(decodeBlocks(name, text), now)
}

// ParseSNIValue reads a value of tls_server_sni_maps: the base64 form of a chain
// file (postmap -F), or names of chain files.
func ParseSNIValue(name, value string, now time.Time) ([]tls.Certificate, error) {
	compact := strings.Join(strings.Fields(value), "")
	if text, err := base64.StdEncoding.DecodeString(compact); err == nil && strings.Contains(string(text), "-----BEGIN") {
		certs, err := ParseChain("tls_server_sni_maps: "+name, text, now)
		if err == nil && len(certs.List) == 0 {
			err = fmt.Errorf("tls_server_sni_maps: %s: %w", name, ErrNoKey)
		}
		return certs.List, err
	}
	files := strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	if i := slices.IndexFunc(files, func(f string) bool { return !strings.HasPrefix(f, "/") }); i >= 0 {
		return nil, fmt.Errorf("tls_server_sni_maps: %s: %q is neither base64 of a chain file nor its absolute path", name, files[i])
	}
	certs, err := LoadChains(files, now)
	return certs.List, err
}

// decodeBlocks finds the certificates and keys in PEM text; parameters and
// comments are passed over.
func decodeBlocks(file string, text []byte) []namedBlock {
	var out []namedBlock
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			return out
		}
		switch b.Type {
		case "CERTIFICATE", "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
			out = append(out, namedBlock{b, file})
		}
	}
}

// readBlocks reads the certificates and keys of a file.
func readBlocks(file string) ([]namedBlock, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return decodeBlocks(file, text), nil
}
