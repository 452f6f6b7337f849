package main

import "sealpost/lib/bouncetext"

// template is the text and the header of one kind of notification, as in
// bounce(5).
type template struct {
	charset           string
	from              string
	subject           string
	postmasterSubject string
	delivered         bool // the message is not "undelivered"
	text              []string
}

type templates struct {
	failure, delay, success, verify template
}

// loadTemplates gives the built-in templates with those of a bounce(5) file put
// over them, and $name in their texts expanded.
func loadTemplates(path string, p bouncetext.Params) (templates, error) {
	set, err := bouncetext.Load(path)
	if err == nil {
		err = set.Expand(p)
	}
	if err != nil {
		return templates{}, err
	}
	get := func(name string) template {
		t := set[name]
		return template{charset: t.Charset, from: t.From, subject: t.Subject, postmasterSubject: t.PostmasterSubject, delivered: t.Delivered, text: t.Text}
	}
	return templates{
		failure: get("failure_template"), delay: get("delay_template"),
		success: get("success_template"), verify: get("verify_template"),
	}, nil
}
