// A random agent in the netstring protocol, with only Go's standard library.
// Usage: go run random_agent.go [HOST:PORT [ENVIRONMENT [EPISODES]]]
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"strconv"
	"time"
)

type object map[string]any

// ask sends a request and reads its reply. Go sets TCP_NODELAY on TCP connections by default.
func ask(server *bufio.ReadWriter, request object) object {
	payload := must(json.Marshal(request))
	fmt.Fprintf(server, "%d:%s,", len(payload), payload)
	check(server.Flush())
	prefix := must(server.ReadString(':'))
	length := must(strconv.Atoi(prefix[:len(prefix)-1]))
	frame := make([]byte, length+1)
	must(io.ReadFull(server, frame)) // exactly that many bytes: a single Read may return fewer
	if frame[length] != ',' {
		check(fmt.Errorf("the reply does not end with a comma"))
	}
	reply := object{}
	check(json.Unmarshal(frame[:length], &reply))
	if reply["op"] == "error" {
		check(fmt.Errorf("%v: %v", reply["code"], reply["message"]))
	}
	return reply
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func main() {
	arguments := []string{"127.0.0.1:5001", "CartPole-v1", "3"}
	copy(arguments, os.Args[1:])
	connection := must(net.Dial("tcp", arguments[0]))
	server := bufio.NewReadWriter(bufio.NewReader(connection), bufio.NewWriter(connection))
	space := ask(server, object{"op": "make", "id": arguments[1]})["action_space"].(map[string]any)
	random := rand.New(rand.NewSource(time.Now().UnixNano()))
	for episode := 1; episode <= must(strconv.Atoi(arguments[2])); episode++ {
		ask(server, object{"op": "reset"})
		length, total := 0, 0.0
		for ended := false; !ended; length++ {
			var action any
			if space["kind"] == "Discrete" {
				action = int(space["start"].(float64)) + random.Intn(int(space["n"].(float64)))
			} else {
				action = ask(server, object{"op": "sample"})["action"]
			}
			reply := ask(server, object{"op": "step", "action": action})
			reward, _ := strconv.ParseFloat(fmt.Sprint(reply["reward"]), 64) // "NaN" and "Infinity" are strings
			total += reward
			ended = reply["terminated"].(bool) || reply["truncated"].(bool)
		}
		fmt.Printf("episode %d: %d steps, return %g\n", episode, length, total)
	}
	ask(server, object{"op": "close"})
}
