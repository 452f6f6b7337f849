package tlsconn

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// suite is a cipher suite of TLS 1.0 to 1.2 in OpenSSL's words.
type suite struct {
	id      uint16
	name    string   // OpenSSL's
	classes []string // upper-case words that stand for it in a list of exclusions
}

// suites are those that crypto/tls has, without RC4 and 3DES, which all grades
// that can be configured exclude.
var suites = []suite{
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", classes("ECDHE ECDSA AES128 GCM")},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", classes("ECDHE ECDSA AES256 GCM")},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", classes("ECDHE RSA AES128 GCM")},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", classes("ECDHE RSA AES256 GCM")},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", classes("ECDHE ECDSA CHACHA20")},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", classes("ECDHE RSA CHACHA20")},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA", classes("ECDHE ECDSA AES128 SHA CBC")},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA", classes("ECDHE ECDSA AES256 SHA CBC")},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA", classes("ECDHE RSA AES128 SHA CBC")},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA", classes("ECDHE RSA AES256 SHA CBC")},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "ECDHE-ECDSA-AES128-SHA256", classes("ECDHE ECDSA AES128 SHA256 CBC")},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256", classes("ECDHE RSA AES128 SHA256 CBC")},
	{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256", classes("KRSA RSA AES128 GCM")},
	{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384", classes("KRSA RSA AES256 GCM")},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-SHA256", classes("KRSA RSA AES128 SHA256 CBC")},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA", classes("KRSA RSA AES128 SHA CBC")},
	{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA", classes("KRSA RSA AES256 SHA CBC")},
}

func classes(words string) []string {
	out := append(strings.Fields(words), "HIGH")
	for _, w := range strings.Fields(words) {
		switch w {
		case "ECDHE":
			out = append(out, "EECDH", "KEECDH", "KECDHE", "ECDH")
		case "ECDSA":
			out = append(out, "AECDSA")
		case "RSA":
			out = append(out, "ARSA")
		case "AES128", "AES256":
			out = append(out, "AES")
		case "GCM":
			out = append(out, "AESGCM")
		case "SHA":
			out = append(out, "SHA1")
		}
	}
	return out
}

// absent are words for what crypto/tls does not have: excluding them is done.
var absent = []string{
	"ANULL", "ENULL", "NULL", "ADH", "AECDH", "EXPORT", "EXP", "LOW", "MEDIUM", "DES", "3DES", "RC2", "RC4", "RC5",
	"IDEA", "SEED", "CAMELLIA", "CAMELLIA128", "CAMELLIA256", "ARIA", "MD5", "DSS", "ADSS", "PSK", "SRP",
	"KDHE", "DHE", "EDH", "KEDH", "KDH", "DH", "KECDH", "AECDH", "AESCCM", "AESCCM8", "GOST", "SSLV2", "SSLV3",
}

// grades are the words of smtpd_tls_ciphers and its like.
var grades = []string{"high", "medium", "low", "export", "null"}

// ParseCiphers gives the cipher suites of TLS 1.0 to 1.2 for a grade less
// exclusions (OpenSSL's names of suites and classes; "A+B" is what is in both).
// "high" and "medium" are the same here; "low", "export" and "null" have nothing
// more to offer, which is reported. TLS 1.3 cannot be configured in crypto/tls.
func ParseCiphers(grade, exclude string) (ids []uint16, problems []string, err error) {
	if !slices.Contains(grades, strings.ToLower(grade)) {
		return nil, nil, fmt.Errorf("unknown cipher grade %q; specify one of: high, medium", grade)
	}
	if g := strings.ToLower(grade); g != "high" && g != "medium" {
		problems = append(problems, fmt.Sprintf("cipher grade %q is not available; medium is used", grade))
	}
	out := slices.Clone(suites)
	for _, word := range splitWords(exclude) {
		parts := strings.Split(strings.ToUpper(word), "+")
		gone, known := 0, false
		out = slices.DeleteFunc(out, func(s suite) bool {
			for _, p := range parts {
				if p != strings.ToUpper(s.name) && !slices.Contains(s.classes, p) {
					return false
				}
			}
			gone++
			return true
		})
		for _, p := range parts {
			known = known || slices.Contains(absent, p) || isSuiteWord(p)
		}
		if gone == 0 && !known {
			problems = append(problems, fmt.Sprintf("excluded cipher %q is not known; nothing is excluded for it", word))
		}
	}
	if len(out) == 0 {
		problems = append(problems, "no cipher of TLS 1.2 and below is left")
	}
	ids = make([]uint16, 0, len(out))
	for _, s := range out {
		ids = append(ids, s.id)
	}
	return ids, problems, nil
}

func isSuiteWord(p string) bool {
	for _, s := range suites {
		if p == strings.ToUpper(s.name) || slices.Contains(s.classes, p) {
			return true
		}
	}
	return strings.HasPrefix(p, "TLS_")
}

// cipherName is a suite as the log has it, with the bits of its key.
func cipherName(id uint16) (name string, bits int) {
	for _, s := range suites {
		if s.id == id {
			name = s.name
		}
	}
	if name == "" {
		name = tls.CipherSuiteName(id)
	}
	switch {
	case strings.Contains(name, "256") && !strings.Contains(name, "AES128") && !strings.Contains(name, "AES_128"),
		strings.Contains(name, "CHACHA20"):
		return name, 256
	case strings.Contains(name, "3DES"):
		return name, 112
	}
	return name, 128
}
