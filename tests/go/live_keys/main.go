// A service that verifies tokens with golang-jwt and keyfunc, which fetches and caches the broker's key set.
//
//	live_keys JWKS_URL ISSUER
//
// Reads a token per line from stdin, and prints "accepted" or "rejected: <reason>" for each. The intervals are keyfunc's
// defaults, divided by 300 as the broker's AA_KEY_PREPARE_FOR is in the test.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url, issuer string) error {
	const scale = 300
	storage, err := jwkset.NewStorageFromHTTP(url, jwkset.HTTPClientStorageOptions{
		Ctx:             context.Background(),
		RefreshInterval: 5 * time.Minute / scale, // the broker's Cache-Control: max-age
	})
	if err != nil {
		return err
	}
	client, err := jwkset.NewHTTPClient(jwkset.HTTPClientOptions{
		HTTPURLs:          map[string]jwkset.Storage{url: storage},
		RefreshUnknownKID: rate.NewLimiter(rate.Every(5*time.Minute/scale), 1),
	})
	if err != nil {
		return err
	}
	keys, err := keyfunc.New(keyfunc.Options{Ctx: context.Background(), Storage: client})
	if err != nil {
		return err
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithIssuer(issuer), jwt.WithExpirationRequired())
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if _, err := parser.Parse(lines.Text(), keys.Keyfunc); err != nil {
			fmt.Printf("rejected: %q\n", err)
		} else {
			fmt.Println("accepted")
		}
	}
	return lines.Err()
}
