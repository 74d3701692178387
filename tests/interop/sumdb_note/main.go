// Opens a checkpoint with Go's own reader of signed notes: main VKEYFILE CHECKPOINT. Prints its text.
package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

func main() {
	vkey, err := os.ReadFile(os.Args[1])
	if err == nil {
		var text []byte
		if text, err = os.ReadFile(os.Args[2]); err == nil {
			var verifier note.Verifier
			if verifier, err = note.NewVerifier(strings.TrimSpace(string(vkey))); err == nil {
				var opened *note.Note
				if opened, err = note.Open(text, note.VerifierList(verifier)); err == nil {
					fmt.Print(opened.Text)
					return
				}
			}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
