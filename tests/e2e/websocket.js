// An echo server and a client of it with the ws package, for foreign_test.py.
//   node websocket.js server        prints its port
//   node websocket.js client URL    sends messages of many sizes, prints a line
const WebSocket = require('ws');

const SIZES = [0, 1, 125, 126, 65535, 65536, 300000];
const MESSAGES = 200;

function serve() {
  const server = new WebSocket.Server({ port: 0, host: '127.0.0.1' }, () => {
    console.log(server.address().port);
  });
  server.on('connection', (socket) => {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
  });
}

function ask(url) {
  const socket = new WebSocket(url);
  let sent = null;
  let echoed = 0;
  const next = () => {
    sent = Buffer.alloc(SIZES[echoed % SIZES.length], echoed % 256);
    socket.send(sent);
  };
  socket.on('open', next);
  socket.on('message', (data) => {
    if (!sent.equals(data)) throw new Error(`message ${echoed} came back changed`);
    echoed += 1;
    if (echoed < MESSAGES) next();
    else socket.close(1000);
  });
  socket.on('close', (code) => console.log(`echoed ${echoed} messages, closed ${code}`));
}

if (process.argv[2] === 'server') serve();
else ask(process.argv[3]);
