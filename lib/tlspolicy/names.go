package tlspolicy

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"sealpost/lib/dns"
)

// matchNames turns strategies and names into the names for a site.
func matchNames(words []string, site Site, host Name) ([]Name, error) {
	var list []Name
	add := func(n Name) {
		n.Text = strings.ToLower(strings.TrimSuffix(n.Text, "."))
		if n.Text == "" || n.Text == "." {
			return
		}
		for i := range list {
			if list[i].Text == n.Text {
				list[i].Authentic = list[i].Authentic || n.Authentic
				return
			}
		}
		list = append(list, n)
	}
	for _, word := range words {
		switch strings.ToLower(word) {
		case "nexthop":
			add(Name{site.Domain, Nexthop, true})
		case "dot-nexthop":
			add(Name{"." + site.Domain, DotNexthop, true})
		case "hostname":
			add(host)
		default:
			if _, literal := dns.Literal(word); !literal && !dns.ValidHostname(strings.TrimPrefix(word, ".")) {
				return nil, fmt.Errorf("%q is neither a strategy nor a name to match", word)
			}
			add(Name{word, Explicit, true})
		}
	}
	return list, nil
}

// hostName is the name of the host with how far it can be believed: it is
// authentic when every step to it was, or when it is the destination itself.
func hostName(site Site) Name {
	clean := func(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
	text := clean(site.Host)
	return Name{text, Hostname, site.HostAuthentic || text == clean(site.Domain)}
}

// digestSizes are the algorithms for fingerprints with the length of their result.
var digestSizes = map[string]int{"md5": 16, "sha1": 20, "sha224": 28, "sha256": 32, "sha384": 48, "sha512": 64}

// fingerprints reads digests in hexadecimal, with or without colons between bytes.
func fingerprints(words []string, digest string) ([]string, error) {
	size, ok := digestSizes[strings.ToLower(digest)]
	if !ok {
		return nil, fmt.Errorf("digest algorithm %q is not supported", digest)
	}
	var list []string
	for _, word := range words {
		text := strings.ToLower(strings.ReplaceAll(word, ":", ""))
		if raw, err := hex.DecodeString(text); err != nil || len(raw) != size {
			return nil, fmt.Errorf("fingerprint %q is not one of %s: want %d bytes in hexadecimal", word, digest, size)
		}
		if !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list, nil
}
