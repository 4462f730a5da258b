package verify

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// members of an object, by name.
type members map[string]any

// A key, or an address of one, in the header is an attack.
var forbidden = []string{"crit", "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256"}

// open checks header and signature of a compact JWS and gives its payload. Whether the type is right says isType.
func (keys KeySet) open(jws string, isType func(string) bool) (members, error) {
	parts := strings.Split(jws, ".")
	if len(parts) != 3 {
		return nil, errors.New("not three parts")
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = decode(part); err != nil {
			return nil, err
		}
	}
	header, err := object(decoded[0])
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if alg := header["alg"]; alg != "EdDSA" && alg != "Ed25519" {
		return nil, errors.New("an algorithm that is not Ed25519")
	}
	typ, isText := "", true
	if value, found := header["typ"]; found {
		typ, isText = value.(string)
	}
	if !isText || !isType(typ) {
		return nil, errors.New("a document of another type")
	}
	for _, name := range forbidden {
		if _, found := header[name]; found {
			return nil, fmt.Errorf("`%s` in the header", name)
		}
	}
	key, err := keys.named(header)
	if err != nil {
		return nil, err
	}
	signed := jws[:len(parts[0])+1+len(parts[1])]
	// crypto/ed25519 refuses an S that is not below the group's order, and an R in another encoding.
	if len(decoded[2]) != ed25519.SignatureSize || !ed25519.Verify(key, []byte(signed), decoded[2]) {
		return nil, errors.New("the signature is not by that key")
	}
	payload, err := object(decoded[1])
	if err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	return payload, nil
}

// named finds the key that the header names; it may name none if there is but one.
func (keys KeySet) named(header members) (ed25519.PublicKey, error) {
	if _, found := header["kid"]; !found && len(keys) == 1 {
		for _, only := range keys {
			return only, nil
		}
	}
	kid, _ := header["kid"].(string)
	key, found := keys[kid]
	if !found {
		return nil, errors.New("an unknown key")
	}
	return key, nil
}

// decode takes one spelling of the bytes and no other: even in strict mode the decoder itself passes over line breaks.
func decode(part string) ([]byte, error) {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil || base64.RawURLEncoding.EncodeToString(data) != part {
		return nil, errors.New("not base64url without padding")
	}
	return data, nil
}

// object reads one JSON object. Unmarshal would take the last of two members of one name, and into a struct `ALG` for
// `alg`: two readers could see two tokens in one.
func object(data []byte) (members, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	value, err := read(decoder, 16)
	if err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("something behind the object")
	}
	if found, ok := value.(members); ok {
		return found, nil
	}
	return nil, errors.New("not an object")
}

func read(decoder *json.Decoder, depth int) (any, error) {
	token, err := decoder.Token()
	opening, nested := token.(json.Delim)
	if err != nil || !nested {
		return token, err
	}
	if depth == 0 {
		return nil, errors.New("nested too deep")
	}
	list, named := []any{}, members{}
	for decoder.More() {
		name := ""
		if opening == '{' {
			token, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			name, _ = token.(string)
			if _, twice := named[name]; twice {
				return nil, fmt.Errorf("`%s` twice", name)
			}
		}
		value, err := read(decoder, depth-1)
		if err != nil {
			return nil, err
		}
		list, named[name] = append(list, value), value
	}
	_, err = decoder.Token() // the closing one
	if opening == '{' {
		return named, err
	}
	return list, err
}
