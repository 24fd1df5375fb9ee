package main

import (
	"context"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	oldopenai "github.com/openai/openai-go/v2"
	oldoption "github.com/openai/openai-go/v2/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

func readOpenAI(j job, r *report) error {
	client := openai.NewClient(option.WithBaseURL(j.url()), option.WithAPIKey("none"), option.WithMaxRetries(0))
	stream := client.Chat.Completions.NewStreaming(context.Background(), openai.ChatCompletionNewParams{
		Model: "m", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hello")},
	})
	defer stream.Close()
	for stream.Next() {
		for _, choice := range stream.Current().Choices {
			if choice.Delta.Content != "" {
				r.Shown = append(r.Shown, choice.Delta.Content)
			}
		}
	}
	return stream.Err()
}

func readOldOpenAI(j job, r *report) error {
	client := oldopenai.NewClient(oldoption.WithBaseURL(j.url()), oldoption.WithAPIKey("none"), oldoption.WithMaxRetries(0))
	stream := client.Chat.Completions.NewStreaming(context.Background(), oldopenai.ChatCompletionNewParams{
		Model: "m", Messages: []oldopenai.ChatCompletionMessageParamUnion{oldopenai.UserMessage("hello")},
	})
	defer stream.Close()
	for stream.Next() {
		for _, choice := range stream.Current().Choices {
			if choice.Delta.Content != "" {
				r.Shown = append(r.Shown, choice.Delta.Content)
			}
		}
	}
	return stream.Err()
}

func readMCP(j job, r *report) error {
	ctx, cancel := context.WithTimeout(context.Background(), j.patience())
	defer cancel()
	shown := make(chan string, j.Events+1)
	client := mcp.NewClient(&mcp.Implementation{Name: "matrix", Version: "1"}, &mcp.ClientOptions{
		LoggingMessageHandler: func(_ context.Context, request *mcp.LoggingMessageRequest) {
			text, _ := request.Params.Data.(string)
			shown <- text
		},
	})
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: j.url(), DisableStandaloneSSE: true}, nil)
	if err != nil {
		return err
	}
	defer session.Close()
	_, err = session.CallTool(ctx, &mcp.CallToolParams{Name: "t", Arguments: map[string]any{}})
	for len(r.Shown) < j.Events { // notifications are handled beside the answer
		select {
		case text := <-shown:
			r.Shown = append(r.Shown, text)
			continue
		case <-time.After(300 * time.Millisecond):
		}
		break
	}
	return err
}
