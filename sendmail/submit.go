package main

import (
	"context"
	"os"

	"sealpost/lib/mailclient"
)

// openChannel finds the way into the mail system. The submit socket's name is
// relative to the queue directory: with the directory in front it may be longer
// than a socket address can hold.
func openChannel(set settings, configDir string) (*mailclient.Submission, error) {
	postdrop := set.CommandDir + "/postdrop"
	back, err := os.Getwd()
	if err != nil {
		back = "/"
	}
	if err := os.Chdir(set.QueueDir); err == nil {
		defer os.Chdir(back) // nothing after this needs a relative name
	}
	return mailclient.OpenSubmission(context.Background(), postdrop, configDir)
}
