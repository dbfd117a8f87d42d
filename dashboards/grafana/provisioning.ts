/** What Grafana reads beside dashboards: where ClickHouse is, where dashboards lie, whom alerts are told to. `${…}` is its own environment. */
import { DATASOURCE_UID, PLUGIN, PLUGIN_VERSION } from './query.ts'

export const DATASOURCES = {
  apiVersion: 1,
  datasources: [
    {
      name: 'Stream quality',
      uid: DATASOURCE_UID,
      type: PLUGIN,
      access: 'proxy',
      isDefault: true,
      editable: false,
      jsonData: {
        version: PLUGIN_VERSION,
        protocol: 'http',
        host: '${CLICKHOUSE_HOST}',
        port: '${CLICKHOUSE_HTTP_PORT}',
        secure: false,
        username: '${CLICKHOUSE_USER}',
        defaultDatabase: '${CLICKHOUSE_DATABASE}',
        dialTimeout: '5',
        queryTimeout: '30',
      },
      secureJsonData: { password: '${CLICKHOUSE_PASSWORD}' },
    },
  ],
}

/** Where the image finds the files. */
export const DASHBOARDS_PATH = '/var/lib/grafana/dashboards'
export const FOLDER = 'Stream quality'

export const PROVIDERS = {
  apiVersion: 1,
  providers: [
    {
      name: 'stream-quality',
      orgId: 1,
      folder: FOLDER,
      type: 'file',
      disableDeletion: true,
      allowUiUpdates: false,
      updateIntervalSeconds: 30,
      options: { path: DASHBOARDS_PATH },
    },
  ],
}

const RECEIVER = 'stream-quality'

export const CONTACT_POINTS = {
  apiVersion: 1,
  contactPoints: [
    {
      orgId: 1,
      name: RECEIVER,
      receivers: [
        {
          uid: 'stream-quality-webhook',
          type: 'webhook',
          settings: {
            url: '${ALERT_WEBHOOK_URL}',
            httpMethod: 'POST',
            title: '{{ template "stream_quality.title" . }}',
            message: '{{ template "stream_quality.message" . }}',
          },
        },
      ],
    },
  ],
}

export const TEMPLATES = {
  apiVersion: 1,
  templates: [
    {
      orgId: 1,
      name: 'stream_quality',
      template: `{{ define "stream_quality.title" }}[{{ .Status }}] {{ .CommonLabels.alertname }} ({{ .CommonLabels.severity }}){{ end }}
{{ define "stream_quality.message" }}{{ range .Alerts }}{{ .Annotations.summary }}
Since {{ .StartsAt }}.
What to do: {{ .Annotations.runbook_url }}
Panel: {{ .PanelURL }}
{{ end }}{{ end }}
`,
    },
  ],
}

/** A page is told at once and again every hour, a ticket once a day. */
export const POLICIES = {
  apiVersion: 1,
  policies: [
    {
      orgId: 1,
      receiver: RECEIVER,
      group_by: ['alertname'],
      group_wait: '30s',
      group_interval: '5m',
      repeat_interval: '24h',
      routes: [
        { receiver: RECEIVER, object_matchers: [['severity', '=', 'page']], group_wait: '10s', repeat_interval: '1h' },
      ],
    },
  ],
}
