"""REST, WebSocket, Socket.IO and the dashboard."""
