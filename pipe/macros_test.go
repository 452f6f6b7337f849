package main

import (
	"slices"
	"strings"
	"testing"

	"sealpost/lib/mailproto"
)

// request is one for three recipients, the second with an extension.
func request() *mailproto.DeliveryRequest {
	return &mailproto.DeliveryRequest{
		QueueID: "3ABC", Nexthop: "Hop.Example", Sender: "s x@A.example", EnvelopeID: "id+1", DataSize: 326,
		Client: mailproto.ClientAttrs{
			LogName: "c.example", LogAddr: "192.0.2.1", LogPort: "4711", LogProto: "ESMTPSA", LogHelo: "helo",
			SASLMethod: "PLAIN", SASLUsername: "jo", SASLSender: "jo@a.example",
		},
		Recipients: []mailproto.Recipient{
			{Addr: "V@B.Example", OrigAddr: "Alias@B.Example"},
			{Addr: "u+Ext@B.Example", OrigAddr: "u+Ext@B.Example"},
			{Addr: "w W+x y@C.example", OrigAddr: "w W+x y@C.example"},
		},
	}
}

func TestMacros(t *testing.T) {
	cases := map[string]struct {
		argv  string // words separated by |
		flags string
		null  bool // the sender is empty
		want  string
	}{
		"the client": {argv: "${client_address}|$client_hostname|$(client_port)|${client_protocol}|${client_helo}",
			want: "192.0.2.1|c.example|4711|ESMTPSA|helo"},
		"the login":               {argv: "${sasl_method} ${sasl_username} ${sasl_sender}", want: "PLAIN jo jo@a.example"},
		"the message":             {argv: "${queue_id}|${size}|${envid}|${nexthop}", want: "3ABC|326|id+1|Hop.Example"},
		"each recipient":          {argv: "-d|${recipient}|end", want: "-d|V@B.Example|u+Ext@B.Example|w W+x y@C.example|end"},
		"each original recipient": {argv: "${original_recipient}", want: "Alias@B.Example|u+Ext@B.Example|w W+x y@C.example"},
		"parts":                   {argv: "${user}@${domain}", want: "V@B.Example|u@B.Example|w W@C.example"},
		"each mailbox":            {argv: "${mailbox}", want: "V|u+Ext|w W+x y"},
		"empty keeps its place":   {argv: "${extension}|e=$extension", want: "|Ext|x y|e=|e=Ext|e=x y"},
		"dollar and literals":     {argv: "$$x|a{b}c|$user$$", want: "$x|a{b}c|V$|u$|w W$"},
		"h":                       {argv: "${recipient}|${domain}|${nexthop}|${sender}", flags: "h", want: "V@b.example|u+Ext@b.example|w W+x y@c.example|b.example|b.example|c.example|hop.example|s x@A.example"},
		"u":                       {argv: "${recipient}|${user}|${extension}|${mailbox}", flags: "u", want: "v@B.Example|u+ext@B.Example|w w+x y@C.example|v|u|w w||ext|x y|v|u+ext|w w+x y"},
		"q":                       {argv: "${sender}|${recipient}|${mailbox}", flags: "q", want: `"s x"@A.example|V@B.Example|u+Ext@B.Example|"w W+x y"@C.example|V|u+Ext|w W+x y`},
		"hqu of the original":     {argv: "${original_recipient}", flags: "hqu", want: `alias@b.example|u+ext@b.example|"w w+x y"@c.example`},
		"empty sender":            {argv: "-f|${sender}", null: true, want: "-f|MAILER-DAEMON"},
		"values stay as they are": {argv: "${sasl_username}$sasl_method", want: "joPLAIN"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			x := expansion{req: request(), flags: &flags{}, nullSender: "MAILER-DAEMON", delimiters: "+"}
			if c.null {
				x.req.Sender = ""
			}
			if err := x.flags.set(c.flags); err != nil {
				t.Fatal(err)
			}
			var argv []argument
			for word := range strings.SplitSeq(c.argv, "|") {
				a, err := parseArgument(word)
				if err != nil {
					t.Fatal(err)
				}
				argv = append(argv, a)
			}
			if got := strings.Join(x.expand(argv), "|"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestAnEmptyNullSenderIsAnArgument(t *testing.T) {
	x := expansion{req: request(), flags: &flags{quote: true}}
	x.req.Sender = ""
	word, err := parseArgument("$sender")
	if err != nil {
		t.Fatal(err)
	}
	if got := x.expand([]argument{word}); !slices.Equal(got, []string{""}) {
		t.Errorf("%q", got)
	}
}

// FuzzExpansion: what mail brings never changes how many arguments there are, and
// is never read as a macro.
func FuzzExpansion(f *testing.F) {
	f.Add("${user}", "$recipient@$(domain)")
	f.Add("a$$b", "x\x00@y")
	f.Fuzz(func(t *testing.T, word, foreign string) {
		a, err := parseArgument(word)
		if err != nil {
			return
		}
		req := request()
		req.Sender, req.Nexthop, req.Client.LogHelo = foreign, foreign, foreign
		for i := range req.Recipients {
			req.Recipients[i].Addr, req.Recipients[i].OrigAddr = foreign, foreign
		}
		marked, err := parseArgument("${sender}")
		if err != nil {
			t.Fatal(err)
		}
		x := expansion{req: req, flags: &flags{}, nullSender: foreign, delimiters: "+"}
		out := x.expand([]argument{a, marked})
		want := 2
		if a.each {
			want = 4
		}
		if len(out) != want || out[len(out)-1] != strings.ReplaceAll(foreign, "\x00", "?") {
			t.Errorf("%q of %q: %q", word, foreign, out)
		}
	})
}
