// A client of Socket.IO as its authors publish it. Prints a line of JSON for everything it sees.
//
//   node socket_io.cjs URL OPTIONS FILTERS        with options for io() and topic filters, as JSON
const http = require("node:http");
const { io } = require("socket.io-client");

const [url, options, filters] = process.argv.slice(2);
const { localAddress, ...rest } = JSON.parse(options);
if (localAddress) rest.agent = new http.Agent({ localAddress, keepAlive: true });

const print = (event, value) => console.log(JSON.stringify({ event, value }));
const socket = io(url, rest);
socket.io.on("open", () => {
  print("open", socket.io.engine.transport.name);
  socket.io.engine.on("upgrade", (transport) => print("upgrade", transport.name));
});
socket.on("connect", () => {
  print("connect", null);
  socket.emit("subscribe", JSON.parse(filters), (answer) => print("subscribed", answer));
});
socket.on("disconnect", (reason) => print("disconnect", reason));
socket.on("connect_error", (error) => print("connect_error", error.message));
socket.onAny(print);
