// The server that `requests` and `servers` drive: a program that runs in a guest and in Node alike.
export const PATHS = { hello: "/", megabyte: "/megabyte" };

export const server = (port) => `
  const http = require("node:http");
  const body = Buffer.alloc(2 ** 20, "x");
  http.createServer((request, response) => response.end(request.url === "/megabyte" ? body : "hello")).listen(${port}, "127.0.0.1", function () {
    console.log("listening " + this.address().port);
  });`;
