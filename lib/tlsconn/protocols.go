package tlsconn

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// protocol is one version of TLS that crypto/tls speaks.
type protocol struct {
	name    string
	version uint16
}

// protocols are the versions, the lowest first.
var protocols = []protocol{
	{"TLSv1", tls.VersionTLS10},
	{"TLSv1.1", tls.VersionTLS11},
	{"TLSv1.2", tls.VersionTLS12},
	{"TLSv1.3", tls.VersionTLS13},
}

// extinct are names that may be excluded and can never be had.
var extinct = []string{"sslv2", "sslv3"}

// Versions is a range of protocol versions, both ends included.
type Versions struct{ Min, Max uint16 }

// ParseProtocols reads the value of smtpd_tls_protocols and its like: words
// separated by blanks, commas or colons. ">=NAME" and "<=NAME" bound the range
// (also as hexadecimal version), "!NAME" excludes a version, NAME alone includes
// it and excludes those not named. crypto/tls knows ranges only: where a gap is
// asked for, the versions above the gap are used and a problem says so.
func ParseProtocols(value string) (v Versions, problems []string, err error) {
	on := make([]bool, len(protocols))
	for i := range on {
		on[i] = true
	}
	var named []int
	for _, word := range splitWords(value) {
		op, name := "", word
		for _, prefix := range []string{">=", "<=", "!"} {
			if rest, ok := strings.CutPrefix(word, prefix); ok {
				op, name = prefix, strings.TrimSpace(rest)
			}
		}
		i, err := protocolIndex(name)
		if err != nil {
			return v, nil, fmt.Errorf("%q: %w", value, err)
		}
		switch op {
		case ">=":
			for j := range min(max(i, 0), len(on)) {
				on[j] = false
			}
		case "<=":
			for j := max(i+1, 0); j < len(on); j++ {
				on[j] = false
			}
		case "!":
			if i >= 0 && i < len(on) {
				on[i] = false
			}
		default:
			named = append(named, i)
		}
	}
	for i := range on {
		on[i] = on[i] && (named == nil || slices.Contains(named, i))
	}
	return topRange(value, on)
}

// topRange is the highest run of versions that are on.
func topRange(value string, on []bool) (v Versions, problems []string, err error) {
	top := len(on) - 1
	for top >= 0 && !on[top] {
		top--
	}
	if top < 0 {
		return v, nil, fmt.Errorf("%q leaves no protocol version that can be used (TLSv1 to TLSv1.3)", value)
	}
	low := top
	for low > 0 && on[low-1] {
		low--
	}
	if slices.Contains(on[:low], true) {
		problems = append(problems, fmt.Sprintf("%q has a gap below %s; versions below the gap are not used", value, protocols[low].name))
	}
	return Versions{protocols[low].version, protocols[top].version}, problems, nil
}

// protocolIndex finds a version: -1 for those before TLS 1.0, len(protocols) for
// those after TLS 1.3.
func protocolIndex(name string) (int, error) {
	for i, p := range protocols {
		if strings.EqualFold(p.name, name) || strings.EqualFold(p.name+".0", name) {
			return i, nil
		}
	}
	if slices.Contains(extinct, strings.ToLower(name)) {
		return -1, nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(name), "0x"), 16, 16)
	if err != nil || len(name) < 4 {
		return 0, fmt.Errorf("unknown protocol %q; specify TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3", name)
	}
	for i, p := range protocols {
		if uint64(p.version) >= n {
			if uint64(p.version) == n {
				return i, nil
			}
			return i - 1, nil
		}
	}
	return len(protocols), nil
}

func splitWords(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" \t\r\n,:", r) })
}

// ParseCurves reads tls_eecdh_auto_curves. The default value means the choice of
// crypto/tls (nil), which begins with a hybrid that withstands quantum computers.
// A name that crypto/tls lacks is passed over and reported.
func ParseCurves(value []string) (curves []tls.CurveID, problems []string) {
	if strings.Join(value, " ") == defaultCurves {
		return nil, nil
	}
	for _, name := range value {
		id, ok := curveNames[strings.ToLower(name)]
		if !ok {
			problems = append(problems, fmt.Sprintf("curve %q is not available and passed over", name))
			continue
		}
		curves = append(curves, id)
	}
	return curves, problems
}

const defaultCurves = "X25519 X448 prime256v1 secp384r1 secp521r1"

var curveNames = map[string]tls.CurveID{
	"x25519": tls.X25519, "prime256v1": tls.CurveP256, "p-256": tls.CurveP256, "secp256r1": tls.CurveP256,
	"secp384r1": tls.CurveP384, "p-384": tls.CurveP384, "secp521r1": tls.CurveP521, "p-521": tls.CurveP521,
	"x25519mlkem768": tls.X25519MLKEM768,
}
