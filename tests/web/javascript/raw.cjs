// A WebSocket of the package ws. Prints a line of JSON for everything it sees.
//
//   node raw.cjs URL
const WebSocket = require("ws");

const print = (event, value) => console.log(JSON.stringify({ event, value }));
const socket = new WebSocket(process.argv[2]);
socket.on("open", () => print("open", null));
socket.on("message", (data) => print("message", JSON.parse(data)));
socket.on("close", (code, reason) => print("close", [code, reason.toString()]));
socket.on("error", (error) => print("error", error.message));
