// A DPoP proof by golang-jwt: the request on stdin, {"jwk": …, "method": …, "url": …, "token": …, "nonce": …}.
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

type request struct {
	JWK    map[string]string `json:"jwk"`
	Method string            `json:"method"`
	URL    string            `json:"url"`
	Token  string            `json:"token"`
	Nonce  string            `json:"nonce"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var wanted request
	if err := json.NewDecoder(os.Stdin).Decode(&wanted); err != nil {
		return err
	}
	seed, err := base64.RawURLEncoding.DecodeString(wanted.JWK["d"])
	if err != nil {
		return err
	}
	hash := sha256.Sum256([]byte(wanted.Token))
	claims := jwt.MapClaims{
		"jti": uuid.NewString(),
		"htm": wanted.Method,
		"htu": wanted.URL,
		"iat": jwt.NewNumericDate(time.Now()),
		"ath": base64.RawURLEncoding.EncodeToString(hash[:]),
	}
	if wanted.Nonce != "" {
		claims["nonce"] = wanted.Nonce
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["typ"] = "dpop+jwt"
	token.Header["jwk"] = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": wanted.JWK["x"]}
	proof, err := token.SignedString(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		return err
	}
	fmt.Println(proof)
	return nil
}
