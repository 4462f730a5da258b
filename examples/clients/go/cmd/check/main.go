// Check reads a token from standard input and says whether it allows something: what a service does with each request.
//
//	AGENTWRIT_BROKER_URL=… go run ./cmd/check read:data:customers <token
//
// Exit code 0: allowed, 1: refused or no answer, 2: usage.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"agentwrit.example/go/verify"
)

func main() {
	issuer := flag.String("issuer", "https://agentwrit.local", "whose tokens are accepted")
	audience := flag.String("audience", "", "who we are, if tokens name an audience")
	skip := flag.Bool("accept-revoked", false, "don't ask what was revoked")
	flag.Parse()
	brokerURL := strings.TrimRight(os.Getenv("AGENTWRIT_BROKER_URL"), "/")
	if flag.NArg() != 1 || brokerURL == "" {
		fmt.Fprintln(os.Stderr, "usage: AGENTWRIT_BROKER_URL=… check [flags] action:resource:identifier <token")
		os.Exit(2)
	}
	token, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	verifier := verify.Verifier{Issuer: *issuer, Audience: *audience}
	claims, err := check(verifier, brokerURL, strings.TrimSpace(string(token)), flag.Arg(0), *skip)
	var rejected rejection
	switch {
	case errors.As(err, &rejected):
		fmt.Println("refused:", rejected.error)
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	fmt.Println("allowed:", claims.Subject)
}

// rejection is an error of the token; any other one is of this program or the broker.
type rejection struct{ error }

// ANCHOR: check

func check(verifier verify.Verifier, brokerURL, token, wanted string, acceptRevoked bool) (verify.Claims, error) {
	client, now := &http.Client{Timeout: 10 * time.Second}, time.Now()
	keys, err := verify.FetchKeys(client, brokerURL) // once, and every five minutes
	if err != nil {
		return verify.Claims{}, err
	}
	verifier.Keys = keys
	claims, err := verifier.Verify(token, now)
	if err != nil {
		return verify.Claims{}, rejection{err}
	}
	if !acceptRevoked {
		list, err := verify.FetchRevocations(client, brokerURL, verifier.Issuer, keys, now) // every ten seconds
		if err != nil {
			return verify.Claims{}, err
		}
		if err := list.Judge(claims, now); errors.Is(err, verify.ErrRevoked) {
			return verify.Claims{}, rejection{err}
		} else if err != nil {
			return verify.Claims{}, err
		}
	}
	if !verify.Covers(claims.Scope, wanted) {
		return verify.Claims{}, rejection{fmt.Errorf("it does not allow %s", wanted)}
	}
	return claims, nil
}

// ANCHOR_END: check
