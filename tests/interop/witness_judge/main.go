// Another implementation of C2SP tlog-witness (github.com/transparency-dev/witness) as both sides.
//
//	witness_judge serve LOG-VKEY          a witness on loopback; prints its url and public key
//	witness_judge key NAME                a log's key: prints the secret and the public one
//	witness_judge ask URL WITNESS-VKEY LOG-SKEY STRANGER-SKEY
//	                                      a log that asks a witness; prints "ok", or what differs
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	fnote "github.com/transparency-dev/formats/note"
	client "github.com/transparency-dev/witness/client/http"
	"github.com/transparency-dev/witness/persistence/inmemory"
	"github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func serve(vkey string) {
	logKey := must(note.NewVerifier(vkey))
	skey, pub, err := note.GenerateKey(rand.Reader, "judge.example.org")
	if err != nil {
		log.Fatal(err)
	}
	signer := must(fnote.NewSignerForCosignatureV1(skey))
	w := must(witness.New(context.Background(), witness.Opts{
		Persistence: inmemory.New(),
		Signers:     []note.Signer{signer},
		VerifierForLog: func(_ context.Context, origin string) (note.Verifier, bool, error) {
			return logKey, strings.HasPrefix(origin, logKey.Name()+"/"), nil
		},
	}))
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	http.HandleFunc("POST /add-checkpoint", witness.NewHTTPHandler(w).AddCheckpoint)
	fmt.Printf("http://%s %s\n", listener.Addr(), must(fnote.VKeyToCosignatureV1(pub)))
	log.Fatal(http.Serve(listener, nil))
}

// A log in memory.
type memoryLog struct {
	origin string
	signer note.Signer
	hashes []tlog.Hash
	size   int64
}

func (l *memoryLog) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		out[i] = l.hashes[index]
	}
	return out, nil
}

func (l *memoryLog) grow(to int64) {
	for ; l.size < to; l.size++ {
		entry := []byte(fmt.Sprintf("entry %d of %s", l.size, l.origin))
		l.hashes = append(l.hashes, must(tlog.StoredHashes(l.size, entry, l))...)
	}
}

func (l *memoryLog) checkpoint(size int64) []byte {
	root := must(tlog.TreeHash(size, l))
	text := fmt.Sprintf("%s\n%d\n%s\n", l.origin, size, root)
	return must(note.Sign(&note.Note{Text: text}, l.signer))
}

func (l *memoryLog) proof(from, to int64) [][]byte {
	if from == 0 {
		return nil
	}
	var out [][]byte
	for _, hash := range must(tlog.ProveTree(to, from, l)) {
		out = append(out, append([]byte(nil), hash[:]...))
	}
	return out
}

func ask(address, witnessKey, logKey, strangerKey string) {
	target := must(url.Parse(address))
	w := client.NewWitness(target, http.DefaultClient)
	verifier := must(fnote.NewVerifierForCosignatureV1(witnessKey))
	l := &memoryLog{signer: must(note.NewSigner(logKey))}
	l.origin = l.signer.Name() + "/shard"
	l.grow(1000)
	ctx := context.Background()
	expect := func(what string, err, wanted error) {
		if !errors.Is(err, wanted) {
			log.Fatalf("%s: %v, expected %v", what, err, wanted)
		}
	}
	var last int64
	for _, size := range []int64{1, 2, 256, 257, 1000, 1000} {
		cp := l.checkpoint(size)
		lines, _, err := w.Update(ctx, uint64(last), cp, l.proof(last, size))
		if err != nil {
			log.Fatalf("from %d to %d: %v", last, size, err)
		}
		cosigned := append(append([]byte(nil), cp...), lines...)
		if _, err := note.Open(cosigned, note.VerifierList(verifier)); err != nil {
			log.Fatalf("the cosignature of size %d: %v", size, err)
		}
		last = size
	}
	_, seen, err := w.Update(ctx, 1, l.checkpoint(1000), l.proof(1, 1000))
	expect("an old size", err, witness.ErrCheckpointStale)
	if seen != 1000 {
		log.Fatalf("the size that was seen is %d", seen)
	}
	_, _, err = w.Update(ctx, 2000, l.checkpoint(1000), nil)
	expect("an old size beyond the checkpoint", err, witness.ErrOldSizeInvalid)
	l.grow(1001)
	_, _, err = w.Update(ctx, 1000, l.checkpoint(1001), l.proof(999, 1001))
	expect("a proof of something else", err, witness.ErrInvalidProof)
	forged := &memoryLog{origin: l.origin, signer: must(note.NewSigner(strangerKey))}
	forged.grow(1001)
	_, _, err = w.Update(ctx, 1000, forged.checkpoint(1001), nil)
	expect("another key", err, witness.ErrNoValidSignature)
	forged.origin = "unknown.example.org/log"
	_, _, err = w.Update(ctx, 0, forged.checkpoint(1001), nil)
	expect("an unknown log", err, witness.ErrUnknownLog)
	fmt.Println("ok")
}

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		serve(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "key":
		skey, vkey, err := note.GenerateKey(rand.Reader, os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %s\n", skey, vkey)
	case len(os.Args) == 6 && os.Args[1] == "ask":
		ask(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	default:
		log.Fatal("usage: witness_judge serve VKEY | key NAME | ask URL WITNESS-VKEY SKEY STRANGER")
	}
}
