# The ingester and the API for production, one image: what runs is chosen by the command. No compiler, no development packages, and not
# the embedded ClickHouse, which is an optional package.
FROM node:20.20-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY ingest ingest
COPY query query
COPY dashboards/console dashboards/console
RUN npm run build && npm run console
RUN cp -r ingest/store/schema dist/ingest/store/schema

FROM node:20.20-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM node:20.20-bookworm-slim
ENV NODE_ENV=production DATA_DIR=/data
WORKDIR /app
RUN mkdir /data && chown node:node /data
COPY --from=packages /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json LICENSE ./
USER node
VOLUME /data
# The API; the ingester is dist/ingest/main.js, a new key dist/query/key-command.js.
EXPOSE 18080
CMD ["node", "dist/query/main.js"]
